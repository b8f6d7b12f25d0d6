package verity

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// BlockSize is the size in bytes of data and of hash blocks.
const BlockSize = 4096

const (
	digestSize      = sha256.Size
	digestsPerBlock = BlockSize / digestSize
	// chunkBlocks is how many blocks one worker reads at once: 2 MiB, large enough
	// that a read costs nothing beside the hashing.
	chunkBlocks = 512
)

// Tree is what the kernel needs to open the device.
type Tree struct {
	RootHash   [32]byte // raw sha256 digest
	DataBlocks int64    // number of 4096-byte data blocks
	HashOffset int64    // byte offset of the superblock in the file; the tree starts one block later
	Salt       [32]byte
	Size       int64 // bytes of data, superblock and tree together
}

// File is the image: read for its data, written behind them.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// Append hashes the first size bytes of f and writes superblock and hash tree behind
// them, from the next 4096-byte boundary on; the gap, if any, is written with zeros and
// hashed as such. size must not be 0. salt and uuid are written as given, so
// that equal inputs give equal bytes; derive them from a seed. It hashes on all cores and
// holds the tree (1/127 of the data) in memory.
// Errors are those of f, and ctx.Err.
func Append(ctx context.Context, f File, size int64, salt [32]byte, uuid [16]byte) (Tree, error) {
	if size <= 0 {
		return Tree{}, fmt.Errorf("verity: image of %d bytes: want at least one", size)
	}
	t := Tree{DataBlocks: (size + BlockSize - 1) / BlockSize, Salt: salt}
	t.HashOffset = t.DataBlocks * BlockSize
	if pad := t.HashOffset - size; pad > 0 {
		if _, err := f.WriteAt(make([]byte, pad), size); err != nil {
			return Tree{}, fmt.Errorf("verity: pad data to %d bytes: %w", t.HashOffset, err)
		}
	}

	levels, root, err := hashLevels(ctx, f, t.DataBlocks, salt)
	if err != nil {
		return Tree{}, err
	}
	t.RootHash = root

	block := make([]byte, BlockSize)
	sb := superblock(t, uuid)
	copy(block, sb[:])
	if _, err := f.WriteAt(block, t.HashOffset); err != nil {
		return Tree{}, fmt.Errorf("verity: write superblock at %d: %w", t.HashOffset, err)
	}
	off := t.HashOffset + BlockSize
	for i := len(levels) - 1; i >= 0; i-- {
		if _, err := f.WriteAt(levels[i], off); err != nil {
			return Tree{}, fmt.Errorf("verity: write hash level %d at %d: %w", i, off, err)
		}
		off += int64(len(levels[i]))
	}
	t.Size = off
	return t, nil
}

// hashLevels returns the levels of the tree, lowest first, each padded to whole blocks,
// and the root hash. One data block alone has no level: its digest is the root hash.
func hashLevels(ctx context.Context, data io.ReaderAt, blocks int64, salt [32]byte) ([][]byte, [32]byte, error) {
	var root [32]byte
	digests, err := hashBlocks(ctx, data, blocks, salt)
	if err != nil {
		return nil, root, err
	}
	var levels [][]byte
	for n := blocks; n > 1; {
		levels = append(levels, digests)
		n = int64(len(digests) / BlockSize)
		if digests, err = hashBlocks(ctx, blockReader(digests), n, salt); err != nil {
			return nil, root, err
		}
	}
	copy(root[:], digests)
	return levels, root, nil
}

// blockReader reads a level kept in memory.
type blockReader []byte

func (b blockReader) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// hashBlocks returns the digests of the blocks of data, in order, zero padded to whole
// 4096-byte blocks.
func hashBlocks(ctx context.Context, data io.ReaderAt, blocks int64, salt [32]byte) ([]byte, error) {
	out := make([]byte, (blocks+digestsPerBlock-1)/digestsPerBlock*BlockSize)
	// The state after the salt is the same for every block: hash it once.
	h := sha256.New()
	h.Write(salt[:])
	salted, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("verity: save sha256 state: %w", err)
	}

	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for first := int64(0); first < blocks; first += chunkBlocks {
		n := min(chunkBlocks, blocks-first)
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			buf := make([]byte, n*BlockSize)
			if _, err := data.ReadAt(buf, first*BlockSize); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("verity: read blocks [%d, %d): %w", first, first+n, err)
			}
			h := sha256.New()
			for i := range n {
				if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(salted); err != nil {
					return fmt.Errorf("verity: restore sha256 state: %w", err)
				}
				h.Write(buf[i*BlockSize : (i+1)*BlockSize])
				at := (first + i) * digestSize
				h.Sum(out[at : at : at+digestSize])
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
