// Package mbr reads a master boot record with four primary partitions, lets the last one
// grow to the end of the disk, and writes the table back in one sector, so that a power
// cut leaves the old table or the new one.
//
// Only what Keelson's own images have is supported: sectors of 512 bytes, no extended
// partition. Tables of others are read as well, so that they can be told apart.
//
// The sector:
//
//	0    boot code, which is never changed
//	440  disk signature, 4 bytes, little endian
//	446  four entries of 16 bytes: status, start as CHS, type, end as CHS, first sector
//	     and number of sectors, 4 bytes each, little endian
//	510  55 aa
//
// Source: UEFI Specification 2.10, section 5.2.1.
package mbr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// SectorSize is the size of a sector in bytes.
const SectorSize = 512

const (
	signatureAt = 440
	entriesAt   = 446
	entrySize   = 16
	entries     = 4
	magicAt     = 510
)

// Types of partitions. Those of the state partition tell how far it has come; the first
// two of them are nobody else's.
const (
	TypeFAT             = 0x0c // FAT32 by LBA; what the boot ROM of a Raspberry Pi 3 looks for
	TypeLinux           = 0x83
	TypeStateFresh      = 0xda // as the image builder left it
	TypeStateFormatting = 0xdb // a format has begun
	typeProtective      = 0xee
)

// firstSector is where the first partition of every Keelson image is: 16 MiB, behind the
// boot loaders of all boards.
const firstSector = 16 << 11

var (
	// ErrNone says that the sector holds no valid table.
	ErrNone = errors.New("no valid partition table")
	// ErrProtective says that the table only protects a GUID partition table, package gpt.
	ErrProtective = errors.New("protective MBR of a GUID partition table")
)

// Entry is one partition, in sectors. An entry with a zero Type is unused.
type Entry struct {
	Type           byte
	First, Sectors uint32
}

// Used reports whether the entry is a partition.
func (e Entry) Used() bool { return e.Type != 0 }

// end is the first sector behind the partition.
func (e Entry) end() uint64 { return uint64(e.First) + uint64(e.Sectors) }

// Table is a partition table. Partition n is Entries[n-1].
type Table struct {
	Entries [entries]Entry
	length  uint64 // of the disk, in sectors
	sector  [SectorSize]byte
}

// Read reads the table of a disk of the given length in sectors. ErrProtective: the disk
// has a GUID partition table; ErrNone: it has no table, or none that can be right.
func Read(disk io.ReaderAt, length uint64) (*Table, error) {
	t := &Table{length: length}
	n, err := disk.ReadAt(t.sector[:], 0)
	if n < SectorSize {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read sector 0: %w", err)
	}
	if err := t.parse(); err != nil {
		return nil, err
	}
	return t, nil
}

// parse fills in Entries from the sector and checks them.
func (t *Table) parse() error {
	if t.sector[magicAt] != 0x55 || t.sector[magicAt+1] != 0xaa {
		return fmt.Errorf("%w: sector 0 ends in %x, want 55aa", ErrNone, t.sector[magicAt:])
	}
	for i := range t.Entries {
		b := t.sector[entriesAt+i*entrySize:][:entrySize]
		t.Entries[i] = Entry{Type: b[4], First: binary.LittleEndian.Uint32(b[8:]), Sectors: binary.LittleEndian.Uint32(b[12:])}
		if b[4] == typeProtective {
			return ErrProtective
		}
	}
	used := false
	for i, e := range t.Entries {
		if !e.Used() {
			continue
		}
		used = true
		// A FAT file system without a table has the same last two bytes, and text here.
		if status := t.sector[entriesAt+i*entrySize]; status&0x7f != 0 {
			return fmt.Errorf("%w: partition %d has status %#02x, want 0 or 0x80", ErrNone, i+1, status)
		}
		if e.First == 0 || e.Sectors == 0 {
			return fmt.Errorf("%w: partition %d takes %d sectors from sector %d on", ErrNone, i+1, e.Sectors, e.First)
		}
		if e.end() > t.length {
			return fmt.Errorf("%w: partition %d ends in sector %d, but the disk has only %d sectors: was the image written to a smaller disk?",
				ErrNone, i+1, e.end()-1, t.length)
		}
		for j, other := range t.Entries[:i] {
			if other.Used() && uint64(other.First) < e.end() && uint64(e.First) < other.end() {
				return fmt.Errorf("%w: partitions %d and %d overlap", ErrNone, j+1, i+1)
			}
		}
	}
	if !used {
		return fmt.Errorf("%w: no partitions", ErrNone)
	}
	return nil
}

// Find returns the number of the partition called name. The table has no names: partitions
// 1 to 4 of an image are "esp", "root-a", "root-b" and "state". ok is false when there is
// no such name, or when the table is not one of ours: by the types, the place of the first
// partition, and that there are no gaps.
func (t *Table) Find(name string) (number int, ok bool) {
	for i, want := range [entries]string{"esp", "root-a", "root-b", "state"} {
		if name == want && t.ours() {
			return i + 1, true
		}
	}
	return 0, false
}

func (t *Table) ours() bool {
	e := &t.Entries
	switch e[3].Type {
	case TypeStateFresh, TypeStateFormatting, TypeLinux:
	default:
		return false
	}
	return e[0].Type == TypeFAT && e[1].Type == TypeLinux && e[2].Type == TypeLinux && e[0].First == firstSector &&
		e[0].end() == uint64(e[1].First) && e[1].end() == uint64(e[2].First) && e[2].end() == uint64(e[3].First)
}

// FindID returns the number of the partition that PARTUUID= calls id: the disk signature
// and the number, "1234abcd-01", lower case.
func (t *Table) FindID(id string) (number int, ok bool) {
	for i, e := range t.Entries {
		if e.Used() && fmt.Sprintf("%08x-%02x", binary.LittleEndian.Uint32(t.sector[signatureAt:]), i+1) == id {
			return i + 1, true
		}
	}
	return 0, false
}

const (
	// align is what a grown partition's end is a multiple of: 1 MiB.
	align = 2048
	// limit is the first sector, so aligned, that the table's numbers of 32 bits do not
	// reach for sure: a bit below 2 TiB.
	limit = 1<<32 - align
)

// Grow lets partition number grow as far as the disk and the table allow, and reports
// whether anything changed. A partition with another behind it is an error.
func (t *Table) Grow(number int) (changed bool, err error) {
	if number < 1 || number > entries || !t.Entries[number-1].Used() {
		return false, fmt.Errorf("mbr: there is no partition %d", number)
	}
	e := &t.Entries[number-1]
	for i, other := range t.Entries {
		if other.Used() && other.First > e.First {
			return false, fmt.Errorf("mbr: partition %d cannot grow: partition %d lies behind it", number, i+1)
		}
	}
	end := min(t.length, limit) / align * align
	if end <= e.end() {
		return false, nil
	}
	e.Sectors = uint32(end - uint64(e.First))
	return true, nil
}

// Beyond is how many sectors of the disk the table cannot reach; 0 below 2 TiB.
func (t *Table) Beyond() uint64 { return max(t.length, limit+align) - (limit + align) }

// Disk is what a table is written to; Sync must not return before the writes are on the
// medium.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Write writes the table: types and ends of partitions may differ from what was read. The
// boot code stays what it is on the disk by now; a table there that is no longer the one
// that was read is an error, and so is one that Read would refuse.
func (t *Table) Write(disk Disk) error {
	now, err := Read(disk, t.length)
	if err != nil {
		return fmt.Errorf("mbr: before writing: %w", err)
	}
	if !bytes.Equal(now.sector[signatureAt:], t.sector[signatureAt:]) {
		return errors.New("mbr: somebody else has changed the table since it was read")
	}
	for i, e := range t.Entries {
		if e == now.Entries[i] {
			continue // also what CHS says stays as it was
		}
		b := now.sector[entriesAt+i*entrySize:][:entrySize]
		b[4] = e.Type
		binary.LittleEndian.PutUint32(b[8:], e.First)
		binary.LittleEndian.PutUint32(b[12:], e.Sectors)
		putCHS(b[1:4], uint64(e.First))
		putCHS(b[5:8], e.end()-1)
	}
	if err := now.parse(); err != nil {
		return fmt.Errorf("mbr: will not write: %w", err)
	}
	if _, err := disk.WriteAt(now.sector[:], 0); err != nil {
		return fmt.Errorf("mbr: write: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("mbr: write: %w", err)
	}
	t.sector = now.sector
	return nil
}

// putCHS writes a sector's number as cylinder, head and sector, with the 255 heads and 63
// sectors that everybody takes for granted. What does not fit is the highest address.
func putCHS(b []byte, lba uint64) {
	const heads, perTrack = 255, 63
	c, h, s := lba/(heads*perTrack), lba/perTrack%heads, lba%perTrack+1
	if c > 1023 {
		c, h, s = 1023, heads-1, perTrack
	}
	b[0], b[1], b[2] = byte(h), byte(s|c>>8<<6), byte(c)
}
