package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// SectorSize is that of the disk, in bytes.
const SectorSize = 512

// Image is a disk whose writes stay in memory, over content that is never changed. It is upgrade/bootcontrol's Disk and
// upgrade/fat's. Not safe for concurrent use.
type Image struct {
	base    io.ReaderAt
	size    int64
	sectors map[int64][]byte
}

// New makes a disk of size bytes, a multiple of SectorSize, that reads as base.
func New(base io.ReaderAt, size int64) *Image {
	return &Image{base, size, map[int64][]byte{}}
}

// Size is the disk's size in bytes.
func (i *Image) Size() int64 { return i.size }

// Sync implements the disk.
func (i *Image) Sync() error { return nil }

// ReadAt reads what was written last.
func (i *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= i.size {
		return 0, io.EOF
	}
	var eof error
	if left := i.size - off; int64(len(p)) > left {
		p, eof = p[:left], io.EOF
	}
	if n, err := i.base.ReadAt(p, off); n < len(p) {
		return n, errors.Join(err, io.ErrUnexpectedEOF)
	}
	for s := off / SectorSize; s*SectorSize < off+int64(len(p)); s++ {
		b, ok := i.sectors[s]
		if !ok {
			continue
		}
		if d := s*SectorSize - off; d >= 0 {
			copy(p[d:], b)
		} else {
			copy(p, b[-d:])
		}
	}
	return len(p), eof
}

// WriteAt writes anywhere inside the disk.
func (i *Image) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > i.size {
		return 0, fmt.Errorf("write of bytes [%d, %d) on a disk of %d", off, off+int64(len(p)), i.size)
	}
	for n := 0; n < len(p); {
		s := (off + int64(n)) / SectorSize
		b, err := i.sector(s)
		if err != nil {
			return n, err
		}
		n += copy(b[off+int64(n)-s*SectorSize:], p[n:])
	}
	return len(p), nil
}

// sector returns sector s, to be changed.
func (i *Image) sector(s int64) ([]byte, error) {
	b, ok := i.sectors[s]
	if !ok {
		b = make([]byte, SectorSize)
		if n, err := i.base.ReadAt(b, s*SectorSize); n < len(b) {
			return nil, fmt.Errorf("read sector %d: %w", s, errors.Join(err, io.ErrUnexpectedEOF))
		}
		i.sectors[s] = b
	}
	return b, nil
}

// Changed returns the byte offsets of the sectors that were written with other content than they had, ascending.
func (i *Image) Changed() ([]int64, error) {
	var out []int64
	was := make([]byte, SectorSize)
	for s, b := range i.sectors {
		if n, err := i.base.ReadAt(was, s*SectorSize); n < len(was) {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		if !bytes.Equal(was, b) {
			out = append(out, s*SectorSize)
		}
	}
	slices.Sort(out)
	return out, nil
}
