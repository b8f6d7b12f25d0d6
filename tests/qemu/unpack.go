package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
)

// unpack makes a sparse raw disk of a compressed image, or of one in a format of other
// virtual machines. What was there is replaced when all went well.
func unpack(ctx context.Context, from string, f format, dir, to string) error {
	tmp := to + ".part"
	var err error
	if f == formatZstd {
		err = decompress(ctx, from, tmp)
	} else {
		err = runTool(ctx, dir, "qemu-img", "convert", "-f", string(f), "-O", "raw", from, tmp)
	}
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		if e := os.Remove(tmp); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		return fmt.Errorf("unpack %s: %w", from, err)
	}
	return nil
}

// decompress unpacks a .zst.
func decompress(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	z, err := zstd.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	n, err := writeSparse(ctx, to, z)
	if err != nil {
		return fmt.Errorf("after %d bytes of the disk: %w; the file may be damaged, or not have been copied whole", n, err)
	}
	return nil
}

// writeSparse writes all of r to a new file, or over an old one; blocks of zeros stay
// holes. It returns the number of bytes read.
func writeSparse(ctx context.Context, to string, r io.Reader) (at int64, err error) {
	const block = 64 << 10 // bytes
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf, zero := make([]byte, block), make([]byte, block)
	for {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		n, err := io.ReadFull(r, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return at, err
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return at, out.Truncate(at)
		case errors.Is(err, io.ErrUnexpectedEOF) && n > 0:
			// The last block, or the end of a compressed file that was cut off: the next read tells.
		case err != nil:
			return at, err
		}
	}
}
