package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	sectorSize = 512
	alignment  = 1 << 20
	// FirstOffset is where the first partition starts, bytes.
	FirstOffset = 16 << 20
	// tail is kept free behind the last partition for the backup table (33 sectors).
	tail = alignment
)

// Partition is one partition to write.
type Partition struct {
	Name string // PARTLABEL, up to 36 characters
	Type string // one of the Type constants
	Size int64  // bytes, a multiple of 1 MiB
	// Write writes the content to w, which reads as zeros and ends at Size. nil leaves
	// the partition empty, a hole in the file.
	Write func(ctx context.Context, w io.WriterAt) error
}

// Extent is where a partition lies: bytes [Offset, Offset+Size) of the disk.
type Extent struct {
	Offset, Size int64
}

// Layout returns where each partition lies and the size of the disk in bytes.
func Layout(partitions []Partition) ([]Extent, int64, error) {
	var extents []Extent
	at := int64(FirstOffset)
	for _, p := range partitions {
		if p.Size <= 0 || p.Size%alignment != 0 {
			return nil, 0, fmt.Errorf("disk: partition %s: %d bytes, want a multiple of 1 MiB", p.Name, p.Size)
		}
		extents = append(extents, Extent{at, p.Size})
		at += p.Size
	}
	return extents, at + tail, nil
}

// File is an empty regular file.
type File interface {
	backend.WritableFile
	Truncate(size int64) error
}

// Write writes the disk to f: tables and the content of every partition, in order.
// GUIDs derive from the seed: the disk's, and each partition's from its name.
// It does not sync. Errors are those of f and of the partitions' Write.
func Write(ctx context.Context, f File, seed [32]byte, partitions []Partition) error {
	extents, size, err := Layout(partitions)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("disk: set size to %d bytes: %w", size, err)
	}
	table := &gpt.Table{
		LogicalSectorSize:  sectorSize,
		PhysicalSectorSize: sectorSize,
		ProtectiveMBR:      true,
		GUID:               guid(seed, "disk"),
	}
	for i, p := range partitions {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1,
			Start: uint64(extents[i].Offset / sectorSize),
			End:   uint64((extents[i].Offset+extents[i].Size)/sectorSize) - 1,
			Name:  p.Name,
			Type:  gpt.Type(p.Type),
			GUID:  guid(seed, "partition "+p.Name),
		})
	}
	// go-diskfs syncs after each of its writes if it can: not in the middle of an image.
	if err := table.Write(struct{ backend.WritableFile }{f}, size); err != nil {
		return fmt.Errorf("disk: write partition table: %w", err)
	}
	for i, p := range partitions {
		if p.Write == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.Write(ctx, &window{f, extents[i]}); err != nil {
			return fmt.Errorf("disk: partition %s: %w", p.Name, err)
		}
	}
	return nil
}

// window is a partition's part of the disk.
type window struct {
	w io.WriterAt
	Extent
}

// WriteAt writes at off in the partition. A write that would leave it is refused whole.
func (w *window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > w.Size || int64(len(p)) > w.Size-off {
		return 0, fmt.Errorf("write %d bytes at %d: partition has %d", len(p), off, w.Size)
	}
	return w.w.WriteAt(p, w.Offset+off)
}

// CopySparse copies r to w from offset 0 on and leaves out blocks of zeros, so that they
// stay holes. w must read as zeros. It returns how many bytes r had.
func CopySparse(ctx context.Context, w io.WriterAt, r io.Reader) (int64, error) {
	const block = 64 << 10
	zeros := make([]byte, block)
	buf := make([]byte, 1<<20)
	var at int64
	for {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		n, err := io.ReadFull(r, buf)
		for b := range slices.Chunk(buf[:n], block) {
			if !bytes.Equal(b, zeros[:len(b)]) {
				if _, err := w.WriteAt(b, at); err != nil {
					return at, err
				}
			}
			at += int64(len(b))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
}
