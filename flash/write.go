package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/flash/drive"
	"github.com/keelson-os/keelson/init/gpt"
	"github.com/keelson-os/keelson/upgrade/fat"
)

// Target is what an image is written to; *drive.Device is one.
type Target interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when what was written is on the medium; later reads come from there.
	Sync() error
	// Path names it in errors.
	Path() string
	// Size is its length in bytes.
	Size() int64
	// Blank makes it read as zeros for nothing, if it can, and reports whether it did.
	Blank() (bool, error)
	// Zero writes zeros without being sent any; errors.ErrUnsupported: it cannot.
	Zero(off, n int64) error
}

var _ Target = (*drive.Device)(nil)

// Options say what else Write does.
type Options struct {
	// Files are put into the root of the FAT partition, in place of those of the same name.
	Files map[string][]byte
	// NoVerify leaves out reading back what was written.
	NoVerify bool
	// Now is the files' time.
	Now time.Time
}

// Result says what Write did.
type Result struct {
	Bytes   int64         // of the image
	Zeros   int64         // of them the disk was told to be zero, or was so already
	Writing time.Duration // of writing the image, with the sync at its end
	Reading time.Duration // of reading it back; 0 when that was left out
}

const (
	// chunk is how much is written and read at once, in bytes: enough for a disk's full speed.
	chunk = 4 << 20
	// buffers is how many chunks there are: one is read, one is written, one is on its way.
	buffers = 3
)

// Write writes the image to the target and reads it back; see the package's description
// for the order. Errors of the target are explained, and say that another run repairs.
// *DifferError: what was read back is not what was written.
func Write(ctx context.Context, img *Image, t Target, o Options, p Progress) (Result, error) {
	var r Result
	if t.Size() < img.Size {
		return r, fmt.Errorf("%s is too small: it has %d bytes, the image needs %d", t.Path(), t.Size(), img.Size)
	}
	p.Step("prepare "+t.Path(), 0)
	blank, err := t.Blank()
	if err != nil {
		return r, explain(t, "empty it", err)
	}
	if err := eraseEnds(t, img.Size); err != nil {
		return r, err
	}

	began := time.Now()
	p.Step("write "+t.Path(), img.Size)
	d := digester{seed: maphash.MakeSeed(), off: o.NoVerify}
	sums, zeros, err := writeBody(ctx, img, t, blank, d, p)
	if err != nil {
		return r, err
	}
	if err := t.Sync(); err != nil {
		return r, explain(t, "finish writing", err)
	}
	r.Bytes, r.Zeros, r.Writing = img.Size, zeros, time.Since(began)

	if !o.NoVerify {
		began = time.Now()
		p.Step("read back "+t.Path(), img.Size)
		if err := verify(ctx, img, t, d, sums, p); err != nil {
			return r, err
		}
		r.Reading = time.Since(began)
	}

	p.Step("finish "+t.Path(), 0)
	if len(o.Files) > 0 {
		if err := putFiles(img, t, o); err != nil {
			return r, err
		}
	}
	return r, writeHead(img, t)
}

// eraseEnds overwrites the first MiB, and the last one as far as the image does not reach it.
func eraseEnds(t Target, imageSize int64) error {
	tail := max(t.Size()-headSize, imageSize)
	for _, span := range []struct{ at, end int64 }{{0, headSize}, {tail, t.Size()}} {
		if span.at < span.end {
			if _, err := t.WriteAt(drive.Buffer(int(span.end-span.at)), span.at); err != nil {
				return explain(t, fmt.Sprintf("write at byte %d", span.at), err)
			}
		}
	}
	if err := t.Sync(); err != nil {
		return explain(t, "write its first MiB", err)
	}
	return nil
}

// piece is a chunk of the image on its way to the target.
type piece struct {
	at   int64
	b    []byte
	zero bool // nothing but zeros
	err  error
}

// writeBody writes everything behind the head. It returns the digest of every chunk, and
// how many bytes were not sent because they are zero.
func writeBody(ctx context.Context, img *Image, t Target, blank bool, d digester, p Progress) (_ []uint64, zeros int64, err error) {
	src, err := img.open(nil)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if _, err := io.CopyN(io.Discard, src, headSize); err != nil {
		return nil, 0, img.damaged(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	free, full := make(chan []byte, buffers), make(chan piece, buffers)
	for range buffers {
		free <- drive.Buffer(chunk)
	}
	var sums []uint64 // to be read when done is closed
	done := make(chan struct{})
	defer func() {
		cancel()
		<-done // nobody reads src any more
	}()
	go func() {
		defer close(done)
		defer close(full)
		sums = readPieces(ctx, img, src, d, free, full)
	}()

	for pc := range full {
		if pc.err != nil {
			return nil, 0, pc.err
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, interrupted(ctx, t)
		}
		skip := pc.zero && blank
		if pc.zero && !blank {
			switch err := t.Zero(pc.at, int64(len(pc.b))); {
			case err == nil:
				skip = true
			case !errors.Is(err, errors.ErrUnsupported) && !drive.Unable(err):
				return nil, 0, explain(t, fmt.Sprintf("write zeros at byte %d", pc.at), err)
			}
		}
		if skip {
			zeros += int64(len(pc.b))
		} else if _, err := t.WriteAt(pc.b, pc.at); err != nil {
			return nil, 0, explain(t, fmt.Sprintf("write at byte %d", pc.at), err)
		}
		p.Done(pc.at + int64(len(pc.b)))
		free <- pc.b[:chunk]
	}
	if ctx.Err() != nil {
		return nil, 0, interrupted(ctx, t)
	}
	<-done
	return sums, zeros, nil
}

func interrupted(ctx context.Context, t Target) error {
	return fmt.Errorf("write %s: %w: the disk has no partition table now; run the same command again", t.Path(), context.Cause(ctx))
}

var zeroChunk [chunk]byte

// readPieces reads the image behind its head up to its end into free buffers, sends them,
// and returns their digests.
func readPieces(ctx context.Context, img *Image, src io.Reader, d digester, free <-chan []byte, full chan<- piece) (sums []uint64) {
	for at := int64(headSize); at < img.Size; {
		var b []byte
		select {
		case b = <-free:
		case <-ctx.Done():
			return sums
		}
		b = b[:min(chunk, img.Size-at)]
		pc := piece{at: at, b: b}
		if _, err := io.ReadFull(src, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			pc.err = img.damaged(fmt.Errorf("read byte %d of the disk in it: %w", at, err))
		} else {
			pc.zero = bytes.Equal(b, zeroChunk[:len(b)])
			sums = append(sums, d.sum(b))
		}
		select {
		case full <- pc:
		case <-ctx.Done():
			return sums
		}
		if pc.err != nil {
			return sums
		}
		at += int64(len(b))
	}
	return sums
}

// putFiles writes the per-node files to the FAT partition and reads them back.
func putFiles(img *Image, t Target, o Options) error {
	n, _ := img.table.Find("esp") // OpenImage saw it
	off, size := img.table.Extent(n)
	v, err := fat.Open(newSection(t, off, size), size)
	if err != nil {
		return explain(t, "open the FAT partition", err)
	}
	if err := WriteFiles(v, o.Files, o.Now); err != nil {
		return explain(t, "write to the FAT partition", err)
	}
	return nil
}

// WriteFiles puts files into the root of a FAT volume and reads them back.
func WriteFiles(v *fat.Volume, files map[string][]byte, now time.Time) error {
	// The configuration last: without it nobody looks at the other files.
	for _, name := range sortedNames(files) {
		if err := v.WriteFile(name, files[name], now); err != nil {
			return err
		}
		got, err := v.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, files[name]) {
			return fmt.Errorf("%s was written, and something else was read back: the disk is defective", name)
		}
	}
	return nil
}

// sortedNames returns the files' names, the machine configuration last.
func sortedNames(files map[string][]byte) []string {
	names := slices.Sorted(maps.Keys(files))
	if i := slices.Index(names, config.FileName); i >= 0 {
		names = append(slices.Delete(names, i, i+1), config.FileName)
	}
	return names
}

// writeHead writes the partition table, grown to the disk's end, and what else is in the
// first MiB, and reads both back.
func writeHead(img *Image, t Target) error {
	h := &headDisk{head: drive.Buffer(headSize), t: t}
	copy(h.head, img.head)
	if img.gpt {
		if err := growTable(img, h); err != nil {
			return explain(t, "write the copy of the partition table", err)
		}
	}
	// Its first 4 KiB, without which nobody sees a partition table, are the last of all.
	err := writeAndCompare(t, h.head[firstBlock:], firstBlock)
	if err == nil {
		err = writeAndCompare(t, h.head[:firstBlock], 0)
	}
	if err != nil {
		return explain(t, "write the partition table", err)
	}
	return nil
}

// firstBlock is what a disk stores at once, in bytes: it is as it was or new, not half.
const firstBlock = 4096

// growTable lets the state partition and the table's copy move to the end of the disk.
func growTable(img *Image, h *headDisk) error {
	// The image's own copy is read as long as h has not been written to.
	table, err := gpt.Read(h, gpt.LBA(img.Size/gpt.SectorSize))
	if err != nil {
		return err
	}
	n, ok := table.Find("state")
	if !ok {
		return errors.New("the image has no state partition")
	}
	changed, err := table.Grow(n, gpt.LBA(h.t.Size()/gpt.SectorSize))
	if err != nil || !changed {
		return err // as in the image: the copy is written already
	}
	return table.Write(h)
}

// headDisk is the target with a beginning that is still in memory.
type headDisk struct {
	head []byte
	t    Target
}

func (h *headDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= int64(len(h.head)) {
		return copy(p, h.head[off:]), nil
	}
	return h.t.ReadAt(p, off)
}

func (h *headDisk) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= int64(len(h.head)) {
		return copy(h.head[off:], p), nil
	}
	if err := writeAndCompare(h.t, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *headDisk) Sync() error { return nil } // writeAndCompare has done it

// writeAndCompare writes, syncs and reads back.
func writeAndCompare(t Target, p []byte, off int64) error {
	if _, err := t.WriteAt(p, off); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	got := drive.Buffer(len(p))
	if err := readFull(t, got, off); err != nil {
		return err
	}
	if d := firstDifference(got, p); d >= 0 {
		return &DifferError{t.Path(), off + int64(d)}
	}
	return nil
}
