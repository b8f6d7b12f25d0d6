package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// SectorSize is that of every disk an image is written to: 512 bytes.
const SectorSize = 512

// Types of partitions, as Partition.Type has them.
const (
	TypeESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" // GPT: EFI system partition (UEFI 2.10, table 5.7)
	TypeBIOSBoot = "21686148-6449-6e6f-744e-656564454649" // GPT: GRUB's BIOS boot partition (GRUB manual, "BIOS installation")
	TypeFAT32    = "0x0b"                                 // MBR: FAT32, by cylinders
	TypeFAT32LBA = "0x0c"                                 // MBR: FAT32, by LBA
	TypeMBRESP   = "0xef"                                 // MBR: EFI system partition
)

// ErrNoTable means that the disk has neither a valid MBR nor a valid GPT.
var ErrNoTable = errors.New("no partition table")

// Partition is an entry of the table. Byte positions count from the start of the disk.
type Partition struct {
	Number   int    // from 1: the place of the entry in the table
	Start    int64  // bytes
	Size     int64  // bytes
	Type     string // GPT: GUID in lower case; MBR: "0x0c"
	Name     string // GPT only
	Bootable bool   // MBR: active flag; GPT: legacy BIOS bootable bit, or an ESP, as U-Boot's disk/part_efi.c has it
}

// End is the first byte behind the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Span is a byte range of the disk that the table itself takes, half-open.
type Span struct {
	What       string
	Start, End int64
}

// Table is a disk's partition table.
type Table struct {
	GPT        bool
	Signature  uint32 // MBR disk signature, 0 on GPT disks
	Partitions []Partition
	Spans      []Span
}

// Read reads the table of a disk of size bytes. A protective MBR (a partition of type 0xEE) means GPT, whose
// two headers must both be valid and agree: firmware reads the first, and a tool that repairs trusts the second.
// Errors: ErrNoTable; anything that breaks a rule of the specification.
func Read(image io.ReaderAt, size int64) (*Table, error) {
	mbr := make([]byte, SectorSize)
	if _, err := image.ReadAt(mbr, 0); err != nil {
		return nil, fmt.Errorf("read sector 0: %w", err)
	}
	if binary.LittleEndian.Uint16(mbr[510:]) != 0xAA55 {
		return nil, fmt.Errorf("sector 0 does not end with 55 aa: %w", ErrNoTable)
	}
	t := &Table{Signature: binary.LittleEndian.Uint32(mbr[440:]), Spans: []Span{{"the MBR", 0, SectorSize}}}
	protective := false
	for i := range 4 {
		e := mbr[446+16*i:][:16]
		if e[4] == 0 {
			continue
		}
		if e[4] == 0xEE {
			protective = true
		}
		if e[0]&0x7f != 0 {
			return nil, fmt.Errorf("MBR entry %d: boot indicator %#02x, want 0 or 0x80", i+1, e[0])
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: i + 1, Type: fmt.Sprintf("%#02x", e[4]), Bootable: e[0] == 0x80,
			Start: int64(binary.LittleEndian.Uint32(e[8:])) * SectorSize,
			Size:  int64(binary.LittleEndian.Uint32(e[12:])) * SectorSize,
		})
	}
	if protective {
		if len(t.Partitions) != 1 {
			return nil, errors.New("hybrid MBR: a partition of type 0xee beside others, which Raspberry Pi's firmware refuses")
		}
		if err := t.readGPT(image, size); err != nil {
			return nil, err
		}
	}
	return t, t.check(size)
}

// check finds partitions that overlap, are empty or leave the disk.
func (t *Table) check(size int64) error {
	sorted := slices.Clone(t.Partitions)
	slices.SortFunc(sorted, func(a, b Partition) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	for i, p := range sorted {
		if p.Size <= 0 || p.Start <= 0 || p.End() > size {
			return fmt.Errorf("partition %d: bytes [%d, %d) of a disk of %d", p.Number, p.Start, p.End(), size)
		}
		if i > 0 && sorted[i-1].End() > p.Start {
			return fmt.Errorf("partitions %d and %d overlap", sorted[i-1].Number, p.Number)
		}
		for _, s := range t.Spans {
			if p.Start < s.End && s.Start < p.End() {
				return fmt.Errorf("partition %d at byte %d overlaps %s", p.Number, p.Start, s.What)
			}
		}
	}
	return nil
}

// Free says what is in the way of the bytes [start, end): a partition or the table. It is "" when nothing is.
func (t *Table) Free(start, end int64) string {
	for _, s := range t.Spans {
		if start < s.End && s.Start < end {
			return fmt.Sprintf("%s at bytes [%d, %d)", s.What, s.Start, s.End)
		}
	}
	for _, p := range t.Partitions {
		if start < p.End() && p.Start < end {
			return fmt.Sprintf("partition %d at bytes [%d, %d)", p.Number, p.Start, p.End())
		}
	}
	return ""
}
