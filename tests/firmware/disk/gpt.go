package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// header is the part of a GPT header that is used here (UEFI 2.10, table 5.5).
type header struct {
	my, alternate, firstUsable, lastUsable, entries uint64 // LBAs
	count, entrySize, entriesCRC                    uint32
	disk                                            [16]byte
}

// maxEntries bounds what is read for a table: firmware commonly refuses more than a few hundred.
const maxEntries = 1024

func readHeader(image io.ReaderAt, lba uint64) (header, error) {
	var h header
	b := make([]byte, SectorSize)
	if _, err := image.ReadAt(b, int64(lba)*SectorSize); err != nil {
		return h, fmt.Errorf("GPT header at LBA %d: %w", lba, err)
	}
	le := binary.LittleEndian
	if string(b[:8]) != "EFI PART" {
		return h, fmt.Errorf("GPT header at LBA %d: no signature: %w", lba, ErrNoTable)
	}
	n := le.Uint32(b[12:])
	if n < 92 || n > SectorSize {
		return h, fmt.Errorf("GPT header at LBA %d: header size %d, want 92 to 512", lba, n)
	}
	want := le.Uint32(b[16:])
	clear(b[16:20])
	if got := crc32.ChecksumIEEE(b[:n]); got != want {
		return h, fmt.Errorf("GPT header at LBA %d: CRC32 %#08x, want %#08x", lba, got, want)
	}
	h = header{
		my: le.Uint64(b[24:]), alternate: le.Uint64(b[32:]), firstUsable: le.Uint64(b[40:]), lastUsable: le.Uint64(b[48:]),
		disk: [16]byte(b[56:72]), entries: le.Uint64(b[72:]), count: le.Uint32(b[80:]), entrySize: le.Uint32(b[84:]), entriesCRC: le.Uint32(b[88:]),
	}
	if h.my != lba {
		return h, fmt.Errorf("GPT header at LBA %d says it is at LBA %d", lba, h.my)
	}
	if h.entrySize < 128 || h.entrySize%8 != 0 || h.entrySize > 4096 || h.count == 0 || h.count > maxEntries {
		return h, fmt.Errorf("GPT header at LBA %d: %d entries of %d bytes", lba, h.count, h.entrySize)
	}
	return h, nil
}

// array reads the entries of a header and checks their CRC.
func (h header) array(image io.ReaderAt, size int64) ([]byte, error) {
	n := int64(h.count) * int64(h.entrySize)
	if h.entries > uint64(size)/SectorSize {
		return nil, fmt.Errorf("GPT entries at LBA %d: behind the disk's end", h.entries)
	}
	b := make([]byte, n)
	if _, err := image.ReadAt(b, int64(h.entries)*SectorSize); err != nil {
		return nil, fmt.Errorf("GPT entries at LBA %d: %w", h.entries, err)
	}
	if got := crc32.ChecksumIEEE(b); got != h.entriesCRC {
		return nil, fmt.Errorf("GPT entries at LBA %d: CRC32 %#08x, want %#08x", h.entries, got, h.entriesCRC)
	}
	return b, nil
}

// sectors is how many sectors the entries take.
func (h header) sectors() uint64 {
	return (uint64(h.count)*uint64(h.entrySize) + SectorSize - 1) / SectorSize
}

func (t *Table) readGPT(image io.ReaderAt, size int64) error {
	t.GPT, t.Signature, t.Partitions = true, 0, nil
	last := uint64(size)/SectorSize - 1
	first, err := readHeader(image, 1)
	if err != nil {
		return err
	}
	entries, err := first.array(image, size)
	if err != nil {
		return err
	}
	if first.alternate != last {
		return fmt.Errorf("GPT: the backup header is said to be at LBA %d, the disk's last is %d", first.alternate, last)
	}
	backup, err := readHeader(image, last)
	if err != nil {
		return err
	}
	again, err := backup.array(image, size)
	if err != nil {
		return err
	}
	if !bytes.Equal(entries, again) || backup.disk != first.disk || backup.alternate != 1 {
		return errors.New("GPT: the backup is not a copy of the first table")
	}
	t.Spans = append(t.Spans,
		Span{"the GPT header", SectorSize, 2 * SectorSize},
		Span{"the GPT entries", int64(first.entries) * SectorSize, int64(first.entries+first.sectors()) * SectorSize},
		Span{"the backup GPT", int64(backup.entries) * SectorSize, size},
	)
	if first.entries < 2 || first.firstUsable < first.entries+first.sectors() || first.lastUsable >= backup.entries {
		return fmt.Errorf("GPT: usable LBAs %d to %d overlap the entries at LBA %d or %d", first.firstUsable, first.lastUsable, first.entries, backup.entries)
	}
	le := binary.LittleEndian
	for i := range int(first.count) {
		e := entries[i*int(first.entrySize):][:first.entrySize]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		from, to := le.Uint64(e[32:]), le.Uint64(e[40:])
		if from < first.firstUsable || to > first.lastUsable || from > to {
			return fmt.Errorf("GPT entry %d: LBAs %d to %d, usable are %d to %d", i+1, from, to, first.firstUsable, first.lastUsable)
		}
		p := Partition{Number: i + 1, Start: int64(from) * SectorSize, Size: int64(to-from+1) * SectorSize, Type: guid(e[:16])}
		units := make([]uint16, 0, 36)
		for j := 56; j < 128; j += 2 {
			u := le.Uint16(e[j:])
			if u == 0 {
				break
			}
			units = append(units, u)
		}
		p.Name = string(utf16.Decode(units))
		p.Bootable = le.Uint64(e[48:])&4 != 0 || p.Type == TypeESP
		t.Partitions = append(t.Partitions, p)
	}
	return nil
}

// guid writes 16 bytes of a GPT as text: the first three fields are little endian (UEFI 2.10, appendix A).
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
