// Package parttable is a disk's partition table, whether it is a GUID partition table
// (package gpt) or a master boot record (package mbr): partitions by name, their places,
// and how far the state partition has come.
package parttable

import (
	"errors"
	"io"

	"github.com/keelson-os/keelson/init/gpt"
	"github.com/keelson-os/keelson/init/mbr"
)

// SectorSize is the only size of a logical block, in bytes, of disks that are supported.
const SectorSize = gpt.SectorSize

// Table is a partition table. Partitions have numbers from 1 on, as the kernel counts.
type Table struct {
	length gpt.LBA
	gpt    *gpt.Table // or
	mbr    *mbr.Table
}

// Read reads the table of a disk of size bytes: a GUID partition table if the first
// sector protects one, else a master boot record; the kernel decides in the same way.
// The error is gpt.ErrNone or mbr.ErrNone when there is no valid table.
func Read(disk io.ReaderAt, size int64) (*Table, error) {
	t := &Table{length: gpt.LBA(size / SectorSize)}
	var err error
	t.mbr, err = mbr.Read(disk, uint64(t.length))
	if errors.Is(err, mbr.ErrProtective) {
		t.gpt, err = gpt.Read(disk, t.length)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Find returns the number of the only partition called name: "esp", "root-a", "root-b",
// "state", on a GUID partition table any other as well.
func (t *Table) Find(name string) (number int, ok bool) {
	if t.gpt != nil {
		return t.gpt.Find(name)
	}
	return t.mbr.Find(name)
}

// FindID returns the number of the partition with the given PARTUUID, lower case.
func (t *Table) FindID(id string) (number int, ok bool) {
	if t.gpt != nil {
		return t.gpt.FindID(id)
	}
	return t.mbr.FindID(id)
}

// Extent returns where a partition that Find or FindID found lies: bytes
// [offset, offset+size) of the disk.
func (t *Table) Extent(number int) (offset, size int64) {
	if t.gpt != nil {
		e := t.gpt.Entries[number-1]
		return int64(e.First) * SectorSize, int64(e.Sectors()) * SectorSize
	}
	e := t.mbr.Entries[number-1]
	return int64(e.First) * SectorSize, int64(e.Sectors) * SectorSize
}

// Grow lets the last partition grow to the disk's end, or as far as the table reaches. It
// reports whether anything changed, which Write then has to write.
func (t *Table) Grow(number int) (changed bool, err error) {
	if t.gpt != nil {
		return t.gpt.Grow(number, t.length)
	}
	return t.mbr.Grow(number)
}

// Beyond is how many bytes of the disk no partition can have, because this kind of table
// does not reach them.
func (t *Table) Beyond() int64 {
	if t.gpt != nil {
		return 0
	}
	return int64(t.mbr.Beyond()) * SectorSize
}

// FromBackup says that the table's first copy was bad: the kernel does not know the
// partitions until Write has mended it.
func (t *Table) FromBackup() bool { return t.gpt != nil && t.gpt.FromBackup }

// Write writes the table back. After a power cut at any point the old one or the new one
// is valid.
func (t *Table) Write(disk gpt.Disk) error {
	if t.gpt != nil {
		return t.gpt.Write(disk)
	}
	return t.mbr.Write(disk)
}
