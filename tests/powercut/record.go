package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// ErrFailed is returned by a Recorder that was told to fail.
var ErrFailed = errors.New("powercut: the disk fails, as was asked")

// op is a write, or a sync when data is nil.
type op struct {
	off  int64
	data []byte
}

// Recorder is a disk that records what is done to it.
type Recorder struct {
	*Image
	ops []op
	// FailAt makes operation number FailAt (writes and syncs count, from 0 on), and all later ones, fail with ErrFailed. Negative: none.
	FailAt int
}

// Record makes a recording disk of size bytes that reads as base.
func Record(base io.ReaderAt, size int64) *Recorder {
	return &Recorder{Image: New(base, size), FailAt: -1}
}

// WriteAt implements the disk.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	if r.FailAt >= 0 && len(r.ops) >= r.FailAt {
		return 0, ErrFailed
	}
	n, err := r.Image.WriteAt(p, off)
	if err == nil {
		r.ops = append(r.ops, op{off, bytes.Clone(p)})
	}
	return n, err
}

// Sync implements the disk.
func (r *Recorder) Sync() error {
	if r.FailAt >= 0 && len(r.ops) >= r.FailAt {
		return ErrFailed
	}
	r.ops = append(r.ops, op{})
	return nil
}

// Operations is how many writes and syncs were recorded.
func (r *Recorder) Operations() int { return len(r.ops) }

// Operation describes one: "sync" or "write 512 bytes at 1048576".
func (r *Recorder) Operation(i int) string {
	if o := r.ops[i]; o.data != nil {
		return fmt.Sprintf("write %d bytes at %d", len(o.data), o.off)
	}
	return "sync"
}

// window is what a cut may lose: the disk as of the last finished sync, and the versions of every sector written since, that one first.
type window struct {
	synced   *Image
	order    []int64 // sectors
	versions map[int64][][]byte
}

// window returns that of a cut after the first n operations.
func (r *Recorder) window(n int) (*window, error) {
	synced := 0
	for i := range n {
		if r.ops[i].data == nil {
			synced = i + 1
		}
	}
	w := &window{synced: New(r.base, r.size), versions: map[int64][][]byte{}}
	for _, o := range r.ops[:synced] {
		if o.data != nil {
			if _, err := w.synced.WriteAt(o.data, o.off); err != nil {
				return nil, err
			}
		}
	}
	later := New(w.synced, r.size)
	for _, o := range r.ops[synced:n] {
		if _, err := later.WriteAt(o.data, o.off); err != nil {
			return nil, err
		}
		for s := o.off / SectorSize; s*SectorSize < o.off+int64(len(o.data)); s++ {
			if w.versions[s] == nil {
				was := make([]byte, SectorSize)
				if _, err := w.synced.ReadAt(was, s*SectorSize); err != nil {
					return nil, err
				}
				w.versions[s] = [][]byte{was}
				w.order = append(w.order, s)
			}
			w.versions[s] = append(w.versions[s], bytes.Clone(later.sectors[s]))
		}
	}
	return w, nil
}

// Cut returns a disk as a power cut may leave it that comes after the first n operations have been given to the disk, chosen by rnd:
// see the package's documentation. With n = Operations() the last ones may still be on their way.
func (r *Recorder) Cut(n int, rnd *rand.Rand) (*Image, error) {
	w, err := r.window(n)
	if err != nil {
		return nil, err
	}
	out := w.synced
	// Some cuts lose nothing or everything, so that the plain cases are among them.
	mode := rnd.IntN(6)
	for _, s := range w.order {
		all := w.versions[s]
		b := bytes.Clone(all[rnd.IntN(len(all))])
		switch {
		case mode == 0:
			b = all[len(all)-1]
		case mode == 1:
			b = all[0]
		case mode == 2 || rnd.IntN(3) == 0: // in mode 2 every sector is torn
			first := rnd.IntN(len(all))
			second := (first + 1 + rnd.IntN(len(all)-1)) % len(all) // another one; there are two at least
			at := tear(all[first], all[second], rnd)
			b = append(bytes.Clone(all[first][:at]), all[second][at:]...)
		}
		if _, err := out.WriteAt(b, s*SectorSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Tears returns every disk that a cut after the first n operations may leave if what is not synced is one version of one sector: old, new, and
// torn at each byte that differs, in both ways. It is nil when more is not synced: use Cut.
func (r *Recorder) Tears(n int) ([]*Image, error) {
	w, err := r.window(n)
	if err != nil || len(w.order) != 1 || len(w.versions[w.order[0]]) != 2 {
		return nil, err
	}
	s := w.order[0]
	was, now := w.versions[s][0], w.versions[s][1]
	var out []*Image
	add := func(b []byte) error {
		d := New(w.synced, r.size)
		out = append(out, d)
		_, err := d.WriteAt(b, s*SectorSize)
		return err
	}
	if err := errors.Join(add(was), add(now)); err != nil {
		return nil, err
	}
	for i := 1; i < SectorSize; i++ {
		if was[i] == now[i] && was[i-1] == now[i-1] {
			continue
		}
		for _, pair := range [][2][]byte{{was, now}, {now, was}} {
			if err := add(append(bytes.Clone(pair[0][:i]), pair[1][i:]...)); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// tear chooses where a sector is torn: mostly among the bytes that differ.
func tear(a, b []byte, rnd *rand.Rand) int {
	var differ []int
	for i := range a {
		if a[i] != b[i] {
			differ = append(differ, i)
		}
	}
	if len(differ) == 0 || rnd.IntN(4) == 0 {
		return rnd.IntN(SectorSize)
	}
	return differ[rnd.IntN(len(differ))]
}
