package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// verifyRoot reads the root back. Errors: ErrReadBack.
func (j *job) verifyRoot(ctx context.Context) error {
	at, _ := j.node.Root(j.slot)
	if err := j.node.Invalidate(at, padded(j.root.Size)); err != nil {
		return err
	}
	r := io.NewSectionReader(j.s.Disk, at, j.root.Size)
	bad, err := j.compare(ctx, r, j.root, func(done int64) { j.progress(PhaseVerify, done, j.root.Size) })
	if err != nil {
		return fmt.Errorf("read the root of slot %s back: %w", j.slot, err)
	}
	switch {
	case bad >= 0:
		return fmt.Errorf("%w: root of slot %s: block of %d bytes at %d of the disk: the disk is failing, replace it", ErrReadBack, j.slot, blockSize, at+int64(bad)*blockSize)
	case bad == wrongSum:
		return fmt.Errorf("%w: its index does not belong to its root: build it again", bundle.ErrContent)
	}
	return nil
}

// checkFile says whether the slot has the boot file with the right content, by reading it from the medium.
func (j *job) checkFile(ctx context.Context, a artefact) error {
	name := strings.TrimPrefix(a.Name, bootPrefix)
	if err := j.forgetESP(); err != nil {
		return err
	}
	r, size, err := j.node.OpenBootFile(j.slot, name)
	if err != nil {
		return err
	}
	bad := 0
	if size == a.Size {
		if bad, err = j.compare(ctx, io.NewSectionReader(r, 0, size), a, func(int64) {}); err != nil {
			return fmt.Errorf("read boot file %s of slot %s back: %w", name, j.slot, err)
		}
	}
	switch {
	case bad >= 0:
		return fmt.Errorf("%w: boot file %s of slot %s, %d bytes, from byte %d on: the disk is failing, replace it", ErrReadBack, name, j.slot, size, int64(bad)*blockSize)
	case bad == wrongSum:
		return fmt.Errorf("%w: its index does not belong to its %s: build it again", bundle.ErrContent, a.Name)
	}
	return nil
}

func (j *job) forgetESP() error {
	if _, ok := j.s.Disk.(bootcontrol.Invalidator); !ok {
		return nil
	}
	t, err := parttable.Read(j.s.Disk, j.s.Disk.Size())
	if err != nil {
		return err
	}
	n, ok := t.Find("esp")
	if !ok {
		return errors.New("the disk has no partition esp")
	}
	return j.node.Invalidate(t.Extent(n))
}

// What compare returns instead of a block.
const (
	allRight = -1
	wrongSum = -2
)

// compare reads an artefact's content from r, and returns the first block that is not the index's; allRight; or wrongSum
// when all blocks are and the whole is not what the manifest says.
func (j *job) compare(ctx context.Context, r io.Reader, a artefact, progress func(done int64)) (int, error) {
	h, bad := sha256.New(), allRight
	for n := 0; n < a.blocks; n += windowBlocks {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		off := int64(n) * blockSize
		size := min(window, a.Size-off)
		if _, err := io.ReadFull(r, j.buf[:size]); err != nil {
			return 0, noEOF(err)
		}
		h.Write(j.buf[:size])
		clear(j.buf[size:padded(size)])
		for i := range int(padded(size) / blockSize) {
			if bad == allRight && sumOf(j.buf[i*blockSize:][:blockSize]) != j.want[a.first+n+i] {
				bad = n + i
			}
		}
		progress(off + size)
	}
	if bad == allRight && hex.EncodeToString(h.Sum(nil)) != strings.ToLower(a.SHA256) {
		bad = wrongSum
	}
	return bad, nil
}

// noEOF is err, io.ErrUnexpectedEOF for a plain end.
func noEOF(err error) error {
	if err == nil || err == io.EOF { // not errors.Is: what wraps one says more
		return io.ErrUnexpectedEOF
	}
	return err
}
