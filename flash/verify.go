package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/keelson-os/keelson/flash/drive"
)

// DifferError says that a disk does not hold what was written to it.
type DifferError struct {
	Path string
	At   int64 // the first byte that differs
}

func (e *DifferError) Error() string {
	return fmt.Sprintf("%s holds something else than was written, from byte %d on: the disk, its reader or its cable is defective, "+
		"or the disk is smaller than it says; run the same command again, and use another disk if that does not help", e.Path, e.At)
}

// digester makes the digests of chunks. A defective disk is no attacker: 64 bits of a hash
// with a seed of this run miss one wrong chunk in 2^64, and cost a tenth of SHA-256's time,
// which would be more than a fast disk takes.
type digester struct {
	seed maphash.Seed
	off  bool // nobody will read back
}

func (d digester) sum(b []byte) uint64 {
	if d.off {
		return 0
	}
	return maphash.Bytes(d.seed, b)
}

// verify reads everything behind the head and compares it with the digests that were made
// while it was written. One chunk is hashed while the next is read.
func verify(ctx context.Context, img *Image, t Target, d digester, sums []uint64, p Progress) error {
	type chunkRead struct {
		b   []byte
		at  int64
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, full := make(chan []byte, 2), make(chan chunkRead, 2)
	free <- drive.Buffer(chunk)
	free <- drive.Buffer(chunk)
	go func() {
		defer close(full)
		for at := int64(headSize); at < img.Size; {
			select {
			case b := <-free:
				b = b[:min(chunk, img.Size-at)]
				err := readFull(t, b, at)
				full <- chunkRead{b, at, err} // has room for both
				if err != nil {
					return
				}
				at += int64(len(b))
			case <-ctx.Done():
				return
			}
		}
	}()
	i := 0
	for c := range full {
		if c.err != nil {
			return explain(t, fmt.Sprintf("read back byte %d", c.at), c.err)
		}
		if d.sum(c.b) != sums[i] {
			return locate(img, t, c.b, c.at)
		}
		i++
		p.Done(c.at + int64(len(c.b)))
		free <- c.b[:chunk]
	}
	if ctx.Err() != nil {
		return interrupted(ctx, t)
	}
	return nil
}

// readFull fills p with what is at a byte of the target.
func readFull(t Target, p []byte, at int64) error {
	n, err := t.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// locate finds the first byte in which a chunk that was read differs from the image.
func locate(img *Image, t Target, got []byte, at int64) error {
	r, err := img.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	want := make([]byte, len(got))
	if n, err := r.ReadAt(want, at); n < len(want) {
		return fmt.Errorf("read %s again: %w", img.Path, err)
	}
	d := firstDifference(got, want)
	if d < 0 {
		return fmt.Errorf("%s has changed while it was written: run the same command again", img.Path)
	}
	return &DifferError{t.Path(), at + int64(d)}
}

// firstDifference returns the index of the first byte that differs, -1 if none does.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
