package imagebuilder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// frameSize is how much of the image one zstd frame holds. Frames are compressed apart
// from each other, on as many cores as there are, and written in order, so the bytes do
// not depend on the number of cores. A .zst file may have any number of frames (RFC 8878,
// section 3); larger ones would compress hardly better, for the root is compressed already.
const frameSize = 8 << 20

// compress writes size bytes of in, zstd compressed, to out, and returns how many bytes
// that gave and their SHA-256 in hex. Holes of in are not read.
func compress(ctx context.Context, out io.Writer, in *os.File, size int64, done func(int64)) (int64, string, error) {
	encoder := func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(true), zstd.WithSingleSegment(false))
	}
	enc, err := encoder()
	if err != nil {
		return 0, "", err
	}
	emptyFrame := enc.EncodeAll(make([]byte, frameSize), nil)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	// order carries each frame's result channel, in the order of the image; its length
	// bounds the frames in memory.
	order := make(chan chan []byte, 2*workers)
	slots := make(chan *zstd.Encoder, workers)
	slots <- enc
	for range workers - 1 {
		e, err := encoder()
		if err != nil {
			return 0, "", err
		}
		slots <- e
	}

	var g errgroup.Group
	g.Go(func() error {
		defer close(order)
		var frames errgroup.Group
		defer func() { _ = frames.Wait() }() // frames do not fail
		hole := int64(0)                     // in is known to be empty up to here
		for at := int64(0); at < size; at += frameSize {
			n := min(frameSize, size-at)
			result := make(chan []byte, 1)
			if at >= hole {
				hole = nextData(in, at, size)
			}
			if n == frameSize && at+n <= hole {
				result <- emptyFrame
			} else {
				buf := make([]byte, n)
				if _, err := in.ReadAt(buf, at); err != nil {
					if errors.Is(err, io.EOF) {
						err = io.ErrUnexpectedEOF
					}
					return fmt.Errorf("read back the image at byte %d: %w", at, err)
				}
				if n == frameSize && len(bytes.Trim(buf[:1], "\x00")) == 0 && bytes.Equal(buf[1:], buf[:n-1]) {
					result <- emptyFrame // zeros without a hole: a file system that has none
				} else {
					frames.Go(func() error {
						e := <-slots
						result <- e.EncodeAll(buf, nil)
						slots <- e
						return nil
					})
				}
			}
			select {
			case order <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})

	h := sha256.New()
	var written, at int64
	var werr error
	for result := range order {
		frame := <-result
		if werr != nil {
			continue // drain
		}
		h.Write(frame)
		n, err := out.Write(frame)
		written += int64(n)
		if err != nil {
			werr = err
			cancel()
			continue
		}
		at = min(at+frameSize, size)
		done(at)
	}
	if err := g.Wait(); werr == nil {
		werr = err
	}
	return written, hex.EncodeToString(h.Sum(nil)), werr
}

// nextData returns where the next data at or behind offset at begins, size if there is
// none; at itself if the file system does not tell.
func nextData(f *os.File, at, size int64) int64 {
	const seekData = 3 // SEEK_DATA of lseek(2)
	next, err := syscall.Seek(int(f.Fd()), at, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return size
	case err != nil:
		return at
	}
	return min(next, size)
}
