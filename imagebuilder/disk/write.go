package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/diskfs/go-diskfs/backend"
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
	Type string // one of the Type constants; for an MBR the type derives from the name
	Size int64  // bytes, a multiple of 1 MiB
	// At is the byte offset, a multiple of 1 MiB in [1 MiB, FirstOffset); 0: behind the partition before it.
	At int64
	// Write writes the content to w, which reads as zeros and ends at Size. nil leaves
	// the partition empty, a hole in the file.
	Write func(ctx context.Context, w io.WriterAt) error
}

// Blob is content without a partition: what a boot ROM reads from a fixed place.
type Blob struct {
	Name   string // for errors
	Offset int64  // bytes, from the end of the partition table on
	Data   []byte
}

// Disk is a disk to write.
type Disk struct {
	// Seed is what all ids derive from: the disk's, and each partition's from its name.
	Seed       [32]byte
	MBR        bool // an MBR instead of a GPT
	Partitions []Partition
	Blobs      []Blob
	// BootCode is put into the first 440 bytes of the disk; nil: zeros.
	BootCode []byte
}

// Extent is where a partition lies: bytes [Offset, Offset+Size) of the disk.
type Extent struct {
	Offset, Size int64
}

func (e Extent) overlaps(o Extent) bool {
	return e.Offset < o.Offset+o.Size && o.Offset < e.Offset+e.Size
}

// Layout returns where each partition lies and the size of the disk in bytes.
func Layout(partitions []Partition) ([]Extent, int64, error) {
	var extents []Extent
	end := int64(FirstOffset)
	for _, p := range partitions {
		if p.Size <= 0 || p.Size%alignment != 0 {
			return nil, 0, fmt.Errorf("disk: partition %s: %d bytes, want a multiple of 1 MiB", p.Name, p.Size)
		}
		if p.At != 0 && (p.At%alignment != 0 || p.At < alignment || p.At+p.Size > FirstOffset) {
			return nil, 0, fmt.Errorf("disk: partition %s: %d bytes at %d: want it in whole MiB, between 1 MiB and %d", p.Name, p.Size, p.At, FirstOffset)
		}
		e := Extent{p.At, p.Size}
		if p.At == 0 {
			e.Offset = end
			end += p.Size
		}
		for i, other := range extents {
			if e.overlaps(other) {
				return nil, 0, fmt.Errorf("disk: partitions %s and %s overlap", partitions[i].Name, p.Name)
			}
		}
		extents = append(extents, e)
	}
	return extents, end + tail, nil
}

// File is an empty regular file.
type File interface {
	backend.WritableFile
	Truncate(size int64) error
}

// Write writes the disk to f: table, blobs and the content of every partition, in order.
// It does not sync. Errors are those of f and of the partitions' Write.
func Write(ctx context.Context, f File, d Disk) error {
	extents, size, err := Layout(d.Partitions)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("disk: set size to %d bytes: %w", size, err)
	}
	used := int64(gptEnd)
	if d.MBR {
		used = sectorSize
		err = writeMBR(f, d, extents)
	} else {
		err = writeGPT(f, d, extents, size)
	}
	if err != nil {
		return fmt.Errorf("disk: write partition table: %w", err)
	}
	if len(d.BootCode) > bootCodeSize {
		return fmt.Errorf("disk: boot code of %d bytes, want at most %d", len(d.BootCode), bootCodeSize)
	}
	if _, err := f.WriteAt(d.BootCode, 0); err != nil {
		return fmt.Errorf("disk: write boot code: %w", err)
	}
	if err := writeBlobs(f, d, extents, used); err != nil {
		return err
	}
	for i, p := range d.Partitions {
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

// bootCodeSize is the room for a BIOS's boot code before the MBR's disk signature.
const bootCodeSize = 440

// writeBlobs writes the blobs. None may touch the table, another one, or a partition.
func writeBlobs(w io.WriterAt, d Disk, extents []Extent, used int64) error {
	for i, b := range d.Blobs {
		e := Extent{b.Offset, int64(len(b.Data))}
		taken := []Extent{{0, used}}
		for _, other := range d.Blobs[:i] {
			taken = append(taken, Extent{other.Offset, int64(len(other.Data))})
		}
		for _, t := range append(taken, extents...) {
			if e.overlaps(t) {
				return fmt.Errorf("disk: %s takes bytes [%d, %d), of which [%d, %d) are taken", b.Name, e.Offset, e.Offset+e.Size, t.Offset, t.Offset+t.Size)
			}
		}
		if _, err := w.WriteAt(b.Data, b.Offset); err != nil {
			return fmt.Errorf("disk: write %s: %w", b.Name, err)
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
