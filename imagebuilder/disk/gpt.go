package disk

import (
	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// gptEnd is the first byte behind the table at the disk's start: MBR, header, 32 sectors of entries.
const gptEnd = 34 * sectorSize

// writeGPT writes both copies of a GPT. The disk's GUID derives from the seed, each
// partition's from its name.
func writeGPT(f File, d Disk, extents []Extent, size int64) error {
	table := &gpt.Table{
		LogicalSectorSize:  sectorSize,
		PhysicalSectorSize: sectorSize,
		ProtectiveMBR:      true,
		GUID:               guid(d.Seed, "disk"),
	}
	for i, p := range d.Partitions {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1,
			Start: uint64(extents[i].Offset / sectorSize),
			End:   uint64((extents[i].Offset+extents[i].Size)/sectorSize) - 1,
			Name:  p.Name,
			Type:  gpt.Type(p.Type),
			GUID:  guid(d.Seed, "partition "+p.Name),
		})
	}
	// go-diskfs syncs after each of its writes if it can: not in the middle of an image.
	return table.Write(struct{ backend.WritableFile }{f}, size)
}
