package disk

import "io"

// Overlay is a disk whose writes stay in memory, by sectors. It is not safe for concurrent use.
type Overlay struct {
	base    io.ReaderAt
	sectors map[int64][]byte
}

// NewOverlay makes a disk that reads as base until it is written to.
func NewOverlay(base io.ReaderAt) *Overlay { return &Overlay{base, map[int64][]byte{}} }

// ReadAt reads what was written last.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.base.ReadAt(p, off)
	for s := off / SectorSize; s*SectorSize < off+int64(n); s++ {
		b, ok := o.sectors[s]
		if !ok {
			continue
		}
		if d := s*SectorSize - off; d >= 0 {
			copy(p[d:n], b)
		} else {
			copy(p[:n], b[-d:])
		}
	}
	return n, err
}

// WriteAt writes anywhere inside the disk.
func (o *Overlay) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		s := (off + int64(n)) / SectorSize
		b, ok := o.sectors[s]
		if !ok {
			b = make([]byte, SectorSize)
			if _, err := o.base.ReadAt(b, s*SectorSize); err != nil {
				return n, err
			}
			o.sectors[s] = b
		}
		n += copy(b[off+int64(n)-s*SectorSize:], p[n:])
	}
	return len(p), nil
}
