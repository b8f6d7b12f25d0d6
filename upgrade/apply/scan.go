package apply

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// quiet is how many bytes of zeros end the search of a partition: what lies behind a root is empty, and a compressed
// file system has no such hole.
const quiet = 8 << 20

// scan finds the blocks of the bundle that are on the disk. Errors: ErrSame when the running root has all of the bundle's.
func (j *job) scan(ctx context.Context) error {
	bootedAt, bootedSize := j.node.Root(j.s.Booted)
	at, size := j.node.Root(j.slot)
	// What will be written there is compared as a whole, so that an interrupted Run is found again.
	target := padded(j.root.Size)
	if j.stageAt != 0 {
		target += int64(len(j.want)-j.root.blocks) * blockSize
	}
	total := bootedSize + size
	matches := 0
	err := j.blocks(ctx, bootedAt, bootedSize, padded(j.root.Size), func(n int64, s sum) {
		if n < int64(j.root.blocks) && s == j.want[j.root.first+int(n)] {
			matches++
		}
		j.found(s, place{from: 1, stable: true, off: bootedAt + n*blockSize})
	}, func(done int64) { j.progress(PhaseCompare, done, total) })
	if err != nil {
		return fmt.Errorf("read the root of slot %s: %w", j.s.Booted, err)
	}
	if matches == j.root.blocks {
		return fmt.Errorf("%w: version %s, root hash %s, in slot %s", ErrSame, j.h.Manifest.Version, j.h.Manifest.RootHash, j.s.Booted)
	}
	err = j.blocks(ctx, at, size, target, func(n int64, s sum) {
		p := place{from: 1, off: at + n*blockSize}
		if n < int64(j.root.blocks) && s == j.want[j.root.first+int(n)] {
			j.same[n], p.stable = true, true
		}
		j.found(s, p)
	}, func(done int64) { j.progress(PhaseCompare, bootedSize+done, total) })
	if err != nil {
		return fmt.Errorf("read the root of slot %s: %w", j.slot, err)
	}
	for _, slot := range []bootcontrol.Slot{j.s.Booted, j.slot} {
		if err := j.scanFiles(ctx, slot); err != nil {
			return err
		}
	}
	j.progress(PhaseCompare, total, total)
	return nil
}

// found notes a place of a block if it is better than the one known: one that stays; else the one that is
// written over last.
func (j *job) found(s sum, p place) {
	if known := j.find(s); known != nil && !known.stable {
		*known = p
	}
}

// blocks hashes blocks [0, size) at off of the disk, until there was nothing but zeros for a while behind least.
func (j *job) blocks(ctx context.Context, off, size, least int64, each func(n int64, s sum), progress func(done int64)) error {
	zeros := int64(0)
	for at := int64(0); at < size && (zeros < quiet || at < least); {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := j.buf[:min(window, (size-at)/blockSize*blockSize)]
		if len(b) == 0 {
			return nil
		}
		if _, err := j.s.Disk.ReadAt(b, off+at); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[blockSize:] {
			s := j.zero
			if zeros += blockSize; !isZero(b[:blockSize]) {
				s, zeros = sumOf(b[:blockSize]), 0
			}
			each(at/blockSize, s)
			at += blockSize
		}
		progress(at)
	}
	return nil
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// scanFiles hashes the boot files of a slot. Those that cannot be read are no source.
func (j *job) scanFiles(ctx context.Context, slot bootcontrol.Slot) error {
	list, err := j.node.BootFiles(slot)
	if err != nil {
		return fmt.Errorf("boot files of slot %s: %w", slot, err)
	}
	for _, f := range list {
		r, size, err := j.node.OpenBootFile(slot, f.Name)
		if err != nil {
			continue
		}
		from := int16(len(j.files) + 2)
		j.files = append(j.files, file{r, size})
		for at := int64(0); at < size; at += blockSize {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := readPadded(r, j.block, at, size); err != nil {
				break
			}
			// A file of the slot to write may be removed before it is read.
			j.found(sumOf(j.block), place{from: from, stable: slot == j.s.Booted, off: at})
		}
	}
	return nil
}

// readPadded reads a block of something of size bytes; what lies behind its end is zeros.
func readPadded(r io.ReaderAt, block []byte, off, size int64) error {
	n := max(0, min(int64(len(block)), size-off))
	clear(block[n:])
	m, err := r.ReadAt(block[:n], off)
	if int64(m) == n {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
