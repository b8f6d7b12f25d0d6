package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// align is what a grown partition's end is a multiple of: 1 MiB.
const align LBA = 2048

// Grow moves the table's end to a disk of the given length and lets partition number grow
// as far as it can. It reports whether anything changed. A disk that shrank is an error.
func (t *Table) Grow(number int, length LBA) (changed bool, err error) {
	if number < 1 || number > len(t.Entries) || !t.Entries[number-1].Used() {
		return false, fmt.Errorf("gpt: there is no partition %d", number)
	}
	e := &t.Entries[number-1]
	for i, other := range t.Entries {
		if other.Used() && other.First > e.Last {
			return false, fmt.Errorf("gpt: partition %d cannot grow: partition %d lies behind it", number, i+1)
		}
	}
	n := sectors(len(t.Entries))
	if length < n+2 || e.Last >= length-1-n {
		return false, fmt.Errorf("gpt: partition %d ends in sector %d, but the disk has only %d sectors: was the image written to a smaller disk?", number, e.Last, length)
	}
	lastUsable := length - 1 - n - 1
	end := (lastUsable+1)/align*align - 1
	if t.backup == length-1 && t.lastUsable == lastUsable && e.Last >= end {
		return false, nil
	}
	t.backup, t.lastUsable = length-1, lastUsable
	e.Last = max(e.Last, end)
	return true, nil
}

// Disk is what a table is written to; Sync must not return before the writes are on the
// medium.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Write writes both copies: the backup first, in full, then the primary in one write of
// the MBR, the header and the entries. After a power cut in between one of them is valid,
// and Read finds it.
func (t *Table) Write(disk Disk) error {
	entries := t.marshalEntries()
	n := sectors(len(t.Entries))
	backup := append(entries[:len(entries):len(entries)], t.header(t.backup, 1, t.backup-n, entries)...)
	if _, err := disk.WriteAt(backup, int64(t.backup-n)*SectorSize); err != nil {
		return fmt.Errorf("gpt: write backup: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("gpt: write backup: %w", err)
	}
	mbr := make([]byte, SectorSize)
	if err := readFull(disk, mbr, 0); err != nil {
		return fmt.Errorf("gpt: protective MBR: %w", err)
	}
	protect(mbr, t.backup)
	primary := append(mbr, t.header(1, t.backup, 2, entries)...)
	primary = append(primary, entries...)
	if _, err := disk.WriteAt(primary, 0); err != nil {
		return fmt.Errorf("gpt: write primary: %w", err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("gpt: write primary: %w", err)
	}
	return nil
}

// protect makes the protective partition of an MBR cover the disk whose last sector is
// last. An MBR without one is left alone.
func protect(mbr []byte, last LBA) {
	for i := 446; i < 510; i += 16 {
		if mbr[i+4] == 0xee {
			first := LBA(binary.LittleEndian.Uint32(mbr[i+8:]))
			binary.LittleEndian.PutUint32(mbr[i+12:], uint32(min(last+1-first, 0xffffffff)))
			return
		}
	}
}

func (t *Table) marshalEntries() []byte {
	b := make([]byte, int(sectors(len(t.Entries)))*SectorSize)
	for i, e := range t.Entries {
		p := b[i*entrySize:]
		copy(p, e.Type[:])
		copy(p[16:], e.ID[:])
		binary.LittleEndian.PutUint64(p[32:], uint64(e.First))
		binary.LittleEndian.PutUint64(p[40:], uint64(e.Last))
		binary.LittleEndian.PutUint64(p[48:], e.Attributes)
		copy(p[56:], e.rawName[:])
	}
	return b
}

// header returns the sector of a header at self, with the other copy's header at other
// and its own entries at at.
func (t *Table) header(self, other, at LBA, entries []byte) []byte {
	h := make([]byte, SectorSize)
	copy(h, signature)
	binary.LittleEndian.PutUint32(h[8:], revision)
	binary.LittleEndian.PutUint32(h[12:], headerSize)
	binary.LittleEndian.PutUint64(h[24:], uint64(self))
	binary.LittleEndian.PutUint64(h[32:], uint64(other))
	binary.LittleEndian.PutUint64(h[40:], uint64(t.firstUsable))
	binary.LittleEndian.PutUint64(h[48:], uint64(t.lastUsable))
	copy(h[56:], t.DiskID[:])
	binary.LittleEndian.PutUint64(h[72:], uint64(at))
	binary.LittleEndian.PutUint32(h[80:], uint32(len(t.Entries)))
	binary.LittleEndian.PutUint32(h[84:], entrySize)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries[:len(t.Entries)*entrySize]))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
	return h
}
