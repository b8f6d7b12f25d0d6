package apply

import (
	"context"
	"fmt"

	"github.com/keelson-os/keelson/upgrade/bundle"
)

// fill puts blocks [from, from+len(buf)/blockSize) of an artefact into buf: from the disk where they are, else from the source. Every one
// was hashed. It returns how many are there, in front, which with an error is not all of them: keep those, the
// next Run then need not fetch them again. fetched is called for each of them that came from the source.
func (j *job) fill(ctx context.Context, a artefact, from int, buf []byte, fetched func(block int)) (there int, err error) {
	n := len(buf) / blockSize
	missing := make([]bool, n)
	for i := range n {
		b := buf[i*blockSize:][:blockSize]
		missing[i] = !j.local(j.want[a.first+from+i], b)
	}
	for there < n && err == nil {
		end := there
		for end < n && missing[end] {
			end++
		}
		if end == there {
			there++
			continue
		}
		if err = ctx.Err(); err != nil {
			break
		}
		var got int
		got, err = j.fetch(a, from+there, buf[there*blockSize:end*blockSize])
		for i := range got {
			fetched(from + there + i)
		}
		there += got
	}
	return there, err
}

// local reads a block from the disk, and says whether it was there.
func (j *job) local(s sum, b []byte) bool {
	if s == j.zero {
		clear(b)
		return true
	}
	p := j.find(s)
	if p == nil || p.from == 0 {
		return false
	}
	var err error
	if p.from == 1 {
		_, err = j.s.Disk.ReadAt(b, p.off)
	} else {
		f := j.files[p.from-2]
		err = readPadded(f, b, p.off, f.size)
	}
	if err != nil || sumOf(b) != s {
		*p = place{} // cannot be read, or was written over
		return false
	}
	return true
}

// fetch reads blocks from the source, with one read, and returns how many came and are right. Errors: bundle.ErrContent.
func (j *job) fetch(a artefact, from int, b []byte) (got int, err error) {
	off := int64(from) * blockSize
	n := min(int64(len(b)), a.Size-off)
	clear(b[n:])
	m, err := j.src.ReadAt(b[:n], a.Offset+off)
	blocks := len(b) / blockSize
	if int64(m) < n {
		blocks, err = m/blockSize, fmt.Errorf("%s of the bundle: %w", a.Name, noEOF(err))
	} else {
		err = nil
	}
	for got = range blocks {
		if sumOf(b[got*blockSize:][:blockSize]) != j.want[a.first+from+got] {
			at := off + int64(got)*blockSize
			return got, fmt.Errorf("%w: bytes [%d, %d) of the file, in %s, have another SHA-256 than the signed index says: fetch or copy the file again",
				bundle.ErrContent, a.Offset+at, a.Offset+min(at+blockSize, a.Size), a.Name)
		}
	}
	return blocks, err
}

// write writes to the disk, and syncs now and then.
func (j *job) write(b []byte, off int64) error {
	if _, err := j.s.Disk.WriteAt(b, off); err != nil {
		return fmt.Errorf("write %d bytes at %d of the disk: %w", len(b), off, err)
	}
	j.written += int64(len(b))
	if j.unsynced += int64(len(b)); j.unsynced >= syncEvery {
		return j.sync()
	}
	return nil
}

func (j *job) sync() error {
	if j.unsynced == 0 {
		return nil
	}
	if err := j.s.Disk.Sync(); err != nil {
		return fmt.Errorf("sync the disk: %w", err)
	}
	j.unsynced = 0
	return nil
}
