package apply

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// clean removes the boot files of the slot to write unless they, and the root, are the bundle's as far as they are there.
// Afterwards the slot is whole, or nobody can commit it.
func (j *job) clean(ctx context.Context) error {
	there, err := j.node.BootFiles(j.slot)
	if err != nil {
		return fmt.Errorf("boot files of slot %s: %w", j.slot, err)
	}
	stale := j.rootDiffers()
	for i := 0; i < len(there) && !stale; i++ {
		stale = true
		for _, a := range j.boot {
			if a.Name == bootPrefix+there[i].Name {
				stale = j.checkFile(ctx, a) != nil
			}
		}
	}
	if err := ctx.Err(); err != nil || !stale || len(there) == 0 {
		return err
	}
	if err := j.node.RemoveBootFiles(j.slot); err != nil {
		return fmt.Errorf("remove the boot files of slot %s: %w", j.slot, err)
	}
	return nil
}

// writeFiles writes the boot files that are not there, and reads each back.
func (j *job) writeFiles(ctx context.Context) error {
	var total, done int64
	for _, a := range j.boot {
		total += a.Size
	}
	j.progress(PhaseBootFiles, 0, total)
	for _, a := range j.boot {
		if j.checkFile(ctx, a) != nil {
			name := strings.TrimPrefix(a.Name, bootPrefix)
			r := &blockReader{ctx: ctx, j: j, a: a, done: done, total: total}
			if err := j.node.WriteBootFile(j.slot, name, a.Size, r); err != nil {
				return fmt.Errorf("write boot file %s of slot %s: %w", name, j.slot, err)
			}
			if err := j.checkFile(ctx, a); err != nil {
				return err
			}
		}
		done += a.Size
		j.progress(PhaseBootFiles, done, total)
	}
	return j.sync()
}

// blockReader is the content of a boot file that is written.
type blockReader struct {
	ctx         context.Context
	j           *job
	a           artefact
	next        int    // block
	rest        []byte // of what was filled
	done, total int64  // for progress
}

func (r *blockReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.next == r.a.blocks {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.j.written += int64(n)
	return n, nil
}

// fill gets the next blocks, and keeps those that came from the source.
func (r *blockReader) fill() error {
	j, from := r.j, r.next
	end := min(from+windowBlocks, r.a.blocks)
	buf := j.buf[:(end-from)*blockSize]
	var fetched []int
	_, failed := j.fill(r.ctx, r.a, from, buf, func(b int) { fetched = append(fetched, b) })
	for _, b := range fetched {
		if err := j.stage(r.a, b, buf[(b-from)*blockSize:][:blockSize]); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	r.next = end
	size := min(int64(end)*blockSize, r.a.Size)
	r.rest = buf[:size-int64(from)*blockSize]
	j.progress(PhaseBootFiles, r.done+size, r.total)
	return nil
}

// stage keeps a block of a boot file behind the root, if there is room: an interrupted Run finds it there.
func (j *job) stage(a artefact, block int, b []byte) error {
	if j.stageAt == 0 {
		return nil
	}
	n := a.first + block // among all; the root's lie before or behind
	if n > j.root.first {
		n -= j.root.blocks
	}
	off := j.stageAt + int64(n)*blockSize
	if err := j.write(b, off); err != nil {
		return err
	}
	j.found(j.want[a.first+block], place{from: 1, stable: true, off: off})
	return nil
}
