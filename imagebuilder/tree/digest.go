package tree

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Sum describes a regular file's content.
type Sum struct {
	Size   int64
	SHA1   [20]byte // SPDX 2.3 demands it (section 8.4); nothing trusts it
	SHA256 [32]byte
}

// Sums reads every regular entry's content and returns its sum by path.
func (t *Tree) Sums() (map[string]Sum, error) {
	entries := t.Entries()
	sums := make([]Sum, len(entries))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range entries {
		e := &entries[i]
		if !e.Mode.IsRegular() {
			continue
		}
		g.Go(func() error {
			s, err := sum(e)
			if err != nil {
				return fmt.Errorf("read the content of %s: %w", e.Path, err)
			}
			sums[i] = s
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make(map[string]Sum, len(entries))
	for i, e := range entries {
		if e.Mode.IsRegular() {
			out[e.Path] = sums[i]
		}
	}
	return out, nil
}

func sum(e *Entry) (Sum, error) {
	r, _, err := e.Open()
	if err != nil {
		return Sum{}, err
	}
	defer r.Close()
	h1, h256 := sha1.New(), sha256.New()
	n, err := io.Copy(io.MultiWriter(h1, h256), r)
	if err != nil {
		return Sum{}, err
	}
	s := Sum{Size: n}
	h1.Sum(s.SHA1[:0])
	h256.Sum(s.SHA256[:0])
	return s, nil
}

// Digest names everything an image made of the tree depends on: paths, modes, link targets
// and contents. sums must be the tree's own, as Sums returned them. Two trees with one digest
// give the same image bytes with the same writer and options.
func (t *Tree) Digest(sums map[string]Sum) [32]byte {
	h := sha256.New()
	text := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		io.WriteString(h, s)
	}
	number := func(v uint64) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], v)
		h.Write(n[:])
	}
	for _, e := range t.Entries() {
		text(e.Path)
		number(uint64(e.Mode))
		text(e.Link)
		number(uint64(e.Major)<<32 | uint64(e.Minor))
		if e.Mode.IsRegular() {
			s := sums[e.Path]
			number(uint64(s.Size))
			h.Write(s.SHA256[:])
		}
	}
	return [32]byte(h.Sum(nil))
}
