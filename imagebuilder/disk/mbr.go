package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Type bytes of an MBR. Source: the lists that fdisk and the Raspberry Pi's boot ROM follow;
// mbrStateNew ("non-FS data") is what PID 1 takes for a state partition that was never formatted.
const (
	mbrFAT32LBA = 0x0c
	mbrLinux    = 0x83
	mbrStateNew = 0xda
)

// mbrTypes are the partitions that an MBR has entries for: four, so that no extended partition is
// needed. bootstate is left out: boot loaders and PID 1 find it by its place.
var mbrTypes = map[string]byte{"esp": mbrFAT32LBA, "root-a": mbrLinux, "root-b": mbrLinux, "state": mbrStateNew}

// unlisted is the partition without an entry.
const unlisted = "bootstate"

// writeMBR writes a classic partition table: a 32-bit disk signature at byte 440, four entries of 16
// bytes from byte 446 on, each status, CHS start, type, CHS end, first sector, sectors; 55 AA at the end.
// CHS fields say "beyond CHS" (FE FF FF), as every tool writes for disks of today.
func writeMBR(w io.WriterAt, d Disk, extents []Extent) error {
	le := binary.LittleEndian
	sector := make([]byte, sectorSize)
	id := UUID(d.Seed, "disk")
	le.PutUint32(sector[440:], le.Uint32(id[:])|1) // 0 would be "none"
	n := 0
	for i, p := range d.Partitions {
		if p.Name == unlisted {
			continue
		}
		kind, ok := mbrTypes[p.Name]
		if !ok || n == 4 {
			return fmt.Errorf("partition %s has no place in an MBR: want esp, root-a, root-b, state", p.Name)
		}
		first, count := extents[i].Offset/sectorSize, extents[i].Size/sectorSize
		if first+count > math.MaxUint32 {
			return fmt.Errorf("partition %s ends above 2 TiB, the limit of an MBR", p.Name)
		}
		e := sector[446+16*n:]
		copy(e, []byte{0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff})
		le.PutUint32(e[8:], uint32(first))
		le.PutUint32(e[12:], uint32(count))
		n++
	}
	sector[510], sector[511] = 0x55, 0xaa
	_, err := w.WriteAt(sector, 0)
	return err
}
