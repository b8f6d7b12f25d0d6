// Package gpt reads a GUID partition table, lets its last partition grow to the end of
// the disk, and writes it back so that a power cut at any point leaves one valid copy.
//
// Only what Keelson's own images have is supported: sectors of 512 bytes and entries of
// 128 bytes.
//
// On the disk:
//
//	LBA 0             protective MBR
//	LBA 1             primary header
//	LBA 2…            entries (128 of 128 bytes: 32 sectors)
//	…
//	last LBA - 32…    copy of the entries
//	last LBA          backup header
//
// Source: UEFI Specification 2.10, section 5.3.
package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"
)

const (
	// SectorSize is the size of an LBA in bytes.
	SectorSize = 512

	entrySize  = 128
	headerSize = 92
	maxEntries = 1024
	signature  = "EFI PART"
	revision   = 0x00010000
)

// LBA is a number of sectors of SectorSize bytes.
type LBA uint64

// GUID is in the byte order of the disk: the first three fields are little endian.
type GUID [16]byte

// String returns the usual form in lower case, as PARTUUID= has it.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// Entry is one partition; both ends are inside it. An entry with a zero Type is unused.
type Entry struct {
	Type, ID    GUID
	First, Last LBA
	Attributes  uint64
	Name        string
	rawName     [72]byte
}

// Used reports whether the entry is a partition.
func (e Entry) Used() bool { return e.Type != GUID{} }

// Sectors is the partition's length.
func (e Entry) Sectors() LBA { return e.Last - e.First + 1 }

// Table is a partition table. Partition n is Entries[n-1].
type Table struct {
	DiskID      GUID
	Entries     []Entry
	firstUsable LBA
	lastUsable  LBA
	backup      LBA // where the backup header belongs: the disk's last sector when it was written
	// FromBackup says that the primary copy was bad and the other one was read.
	FromBackup bool
}

// ErrNone says that the disk has no valid table, in either copy.
var ErrNone = errors.New("no valid GUID partition table")

// Read reads the table of a disk of the given length: the primary copy, else the one in
// the disk's last sector.
func Read(disk io.ReaderAt, length LBA) (*Table, error) {
	if length < 68 { // MBR, two headers, two times 32 sectors of entries, and one to use
		return nil, fmt.Errorf("%w: the disk has only %d sectors", ErrNone, length)
	}
	t, err := readCopy(disk, 1, length)
	if err == nil {
		return t, nil
	}
	t, berr := readCopy(disk, length-1, length)
	if berr != nil {
		return nil, fmt.Errorf("%w: primary: %w; backup: %w", ErrNone, err, berr)
	}
	t.FromBackup = true
	return t, nil
}

func readCopy(disk io.ReaderAt, at, length LBA) (*Table, error) {
	h := make([]byte, SectorSize)
	if err := readFull(disk, h, at); err != nil {
		return nil, err
	}
	if string(h[:8]) != signature {
		return nil, errors.New("no header")
	}
	size := binary.LittleEndian.Uint32(h[12:])
	if size < headerSize || size > SectorSize {
		return nil, fmt.Errorf("header of %d bytes", size)
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:size]) != sum {
		return nil, errors.New("header checksum is wrong")
	}
	u64 := func(i int) LBA { return LBA(binary.LittleEndian.Uint64(h[i:])) }
	if u64(24) != at {
		return nil, fmt.Errorf("header says it is in sector %d, not %d", u64(24), at)
	}
	t := &Table{firstUsable: u64(40), lastUsable: u64(48), backup: u64(32)}
	if at != 1 {
		t.backup = at
	}
	copy(t.DiskID[:], h[56:72])
	entries := u64(72)
	count := binary.LittleEndian.Uint32(h[80:])
	if es := binary.LittleEndian.Uint32(h[84:]); es != entrySize {
		return nil, fmt.Errorf("entries of %d bytes, want %d", es, entrySize)
	}
	if count == 0 || count > maxEntries {
		return nil, fmt.Errorf("%d entries, want 1 to %d", count, maxEntries)
	}
	n := sectors(int(count))
	if entries < 2 || entries >= length || entries+n > length {
		return nil, fmt.Errorf("entries in sector %d of %d", entries, length)
	}
	if t.firstUsable > t.lastUsable || t.lastUsable >= length {
		return nil, fmt.Errorf("usable sectors %d to %d of %d", t.firstUsable, t.lastUsable, length)
	}
	raw := make([]byte, int(n)*SectorSize)
	if err := readFull(disk, raw, entries); err != nil {
		return nil, err
	}
	raw = raw[:int(count)*entrySize]
	if crc32.ChecksumIEEE(raw) != binary.LittleEndian.Uint32(h[88:]) {
		return nil, errors.New("checksum of the entries is wrong")
	}
	for b := range slices.Chunk(raw, entrySize) {
		e := parseEntry(b)
		if e.Used() && (e.First > e.Last || e.First < t.firstUsable || e.Last > t.lastUsable) {
			return nil, fmt.Errorf("partition %d takes sectors %d to %d, usable are %d to %d",
				len(t.Entries)+1, e.First, e.Last, t.firstUsable, t.lastUsable)
		}
		t.Entries = append(t.Entries, e)
	}
	return t, nil
}

func readFull(r io.ReaderAt, p []byte, at LBA) error {
	n, err := r.ReadAt(p, int64(at)*SectorSize)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read sector %d: %w", at, err)
}

func sectors(entries int) LBA {
	return LBA((entries*entrySize + SectorSize - 1) / SectorSize)
}

func parseEntry(b []byte) Entry {
	var e Entry
	copy(e.Type[:], b)
	copy(e.ID[:], b[16:])
	e.First = LBA(binary.LittleEndian.Uint64(b[32:]))
	e.Last = LBA(binary.LittleEndian.Uint64(b[40:]))
	e.Attributes = binary.LittleEndian.Uint64(b[48:])
	copy(e.rawName[:], b[56:])
	var name []uint16
	for c := range slices.Chunk(e.rawName[:], 2) {
		u := binary.LittleEndian.Uint16(c)
		if u == 0 {
			break
		}
		name = append(name, u)
	}
	e.Name = string(utf16.Decode(name))
	return e
}

// Find returns the number of the only partition called name; ok is false when there is
// none or more than one.
func (t *Table) Find(name string) (number int, ok bool) {
	for i, e := range t.Entries {
		if e.Used() && e.Name == name {
			if number != 0 {
				return 0, false
			}
			number = i + 1
		}
	}
	return number, number != 0
}

// FindID returns the number of the partition with the given ID, lower case.
func (t *Table) FindID(id string) (number int, ok bool) {
	for i, e := range t.Entries {
		if e.Used() && e.ID.String() == id {
			return i + 1, true
		}
	}
	return 0, false
}
