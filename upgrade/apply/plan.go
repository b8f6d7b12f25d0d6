package apply

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

const (
	blockSize = 4096
	// window is how much is worked on at once: the largest read of the source, and the largest write.
	window       = 1 << 20
	windowBlocks = window / blockSize
	// syncEvery is how many bytes are written before the disk is synced: the disk's queue stays short, so that the
	// datastore, which is on the same disk, does not wait for long.
	syncEvery = 4 << 20
)

// sum identifies a block: the first half of its SHA-256, as the index has it.
type sum [16]byte

func sumOf(block []byte) sum {
	h := sha256.Sum256(block)
	return sum(h[:16])
}

// padded is n rounded up to whole blocks.
func padded(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// artefact is one of the bundle, and where its blocks are in job.want.
type artefact struct {
	bundle.Artefact
	first, blocks int
}

// place is where a block's content may be found. It is looked at and hashed again before it is used, since it may have been
// written over.
type place struct {
	from   int16 // 0: nowhere; 1: the disk; 2…: job.files[from-2]
	stable bool  // Run will not write over it
	off    int64 // bytes
}

// file is a boot file that is on the disk.
type file struct {
	io.ReaderAt
	size int64
}

// job is one Run.
type job struct {
	s    System
	o    Options
	h    *bundle.Header
	node *bootcontrol.Node
	src  *counter
	slot bootcontrol.Slot // to write

	root    artefact
	boot    []artefact // in the order of writing
	want    []sum      // of all artefacts' blocks
	order   []int32    // indices of want, sorted by their hash
	places  []place    // by the position in order of the first one with the hash
	same    []bool     // blocks of the root that are right in their place
	files   []file
	stageAt int64 // where on the disk blocks of boot files are kept, or 0: no room

	zero     sum
	block    []byte // for reading one block
	buf      []byte // for fill's callers
	unsynced int64
	written  int64
}

func plan(h *bundle.Header, s System, node *bootcontrol.Node, src *counter, o Options) (*job, error) {
	j := &job{
		s: s, o: o, h: h, node: node, src: src, slot: s.Booted.Other(),
		zero: sumOf(make([]byte, blockSize)), block: make([]byte, blockSize), buf: make([]byte, window),
	}
	for _, a := range h.Manifest.Artefacts {
		x := artefact{Artefact: a, first: len(j.want)}
		for _, b := range h.Blocks(a) {
			j.want = append(j.want, b)
		}
		x.blocks = len(j.want) - x.first
		if int64(x.blocks) != padded(a.Size)/blockSize {
			return nil, fmt.Errorf("%w: index of %s: %d blocks, want %d", bundle.ErrContent, a.Name, x.blocks, padded(a.Size)/blockSize)
		}
		if a.Name == rootName {
			j.root = x
		} else {
			j.boot = append(j.boot, x)
		}
	}
	need := essential(node.Chain())
	last := bootPrefix + need[len(need)-1]
	slices.SortStableFunc(j.boot, func(a, b artefact) int {
		return cmp.Or(cmp.Compare(btoi(a.Name == last), btoi(b.Name == last)), strings.Compare(a.Name, b.Name))
	})
	at, room := node.Root(j.slot)
	if end := padded(j.root.Size); int64(len(j.want)-j.root.blocks)*blockSize <= room-end {
		j.stageAt = at + end
	}
	j.same = make([]bool, j.root.blocks)
	j.order = make([]int32, len(j.want))
	for i := range j.order {
		j.order[i] = int32(i)
	}
	slices.SortFunc(j.order, func(a, b int32) int { return bytes.Compare(j.want[a][:], j.want[b][:]) })
	j.places = make([]place, len(j.want))
	return j, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find returns the place of a block's content, or nil when the bundle has no such block.
func (j *job) find(s sum) *place {
	k, ok := slices.BinarySearchFunc(j.order, s, func(i int32, s sum) int { return bytes.Compare(j.want[i][:], s[:]) })
	if !ok {
		return nil
	}
	return &j.places[k]
}

// progress tells how far the phase has come.
func (j *job) progress(p Phase, done, total int64) {
	if j.o.Progress != nil {
		j.o.Progress(Progress{Phase: p, Done: done, Total: total, Fetched: j.src.bytes, Written: j.written})
	}
}
