package slots

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/verity"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// lineMax bounds, in bytes, a kernel command line in a boot file; kernels take 2048 to 4096.
const lineMax = 64 << 10

// commandLine reads the kernel command line in the boot files of a slot.
func commandLine(node *bootcontrol.Node, slot bootcontrol.Slot) (cmdline.Params, error) {
	name, parse := "uki.efi", ukiLine
	switch node.Chain() {
	case bootcontrol.UBoot:
		name, parse = "boot.env", envLine
	case bootcontrol.Pi:
		name, parse = "cmdline.txt", textLine
	}
	f, size, err := node.OpenBootFile(slot, name)
	if err != nil {
		return nil, err
	}
	text, err := parse(io.NewSectionReader(f, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cmdline.Parse(text), nil
}

// ukiLine is the section .cmdline. Source: UAPI.5, Unified Kernel Image.
func ukiLine(r *io.SectionReader) (string, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return "", err
	}
	section := f.Section(".cmdline")
	if section == nil {
		return "", errors.New("no section .cmdline")
	}
	size := min(section.VirtualSize, section.Size)
	if size > lineMax {
		return "", fmt.Errorf("section .cmdline has %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := section.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(bytes.TrimRight(b, "\x00\n")), nil
}

// envLine is the variable keelson_args, the one line of boot.env.
func envLine(r *io.SectionReader) (string, error) {
	text, err := textLine(r)
	if err != nil {
		return "", err
	}
	line, ok := strings.CutPrefix(text, "keelson_args=")
	if !ok {
		return "", errors.New("no line keelson_args=…")
	}
	return line, nil
}

// textLine is the first line.
func textLine(r *io.SectionReader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, lineMax))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line, nil
}

// checkRoot reads the root of a slot as a whole and compares it with the root hash on its command line.
func checkRoot(ctx context.Context, d bootcontrol.Disk, node *bootcontrol.Node, slot bootcontrol.Slot, line cmdline.Params) error {
	rootHash, _ := line.Get(verity.RootHashParam)
	spec, _ := line.Get(verity.Param)
	p, err := verity.Parse(rootHash, spec)
	if err != nil {
		return err
	}
	offset, size := node.Root(slot)
	if p.Size() > uint64(size) {
		return fmt.Errorf("its root has %d bytes, its partition %d", p.Size(), size)
	}
	root := io.NewSectionReader(d, offset, size)
	top, err := p.TopDigest(root)
	if err != nil {
		return err
	}
	if top != p.RootHash {
		return fmt.Errorf("the partition has another root: hash %x, its boot files want %x", top, p.RootHash)
	}
	sum, err := treeHash(ctx, root, p.DataBlocks, p.Salt)
	if err != nil {
		return err
	}
	if sum != p.RootHash {
		return fmt.Errorf("its root is damaged: hash %s, want %s", hex.EncodeToString(sum[:]), hex.EncodeToString(p.RootHash[:]))
	}
	return nil
}

// treeHash computes the root hash of the data blocks at the start of r, as dm-verity does with SHA-256 and format 1: each block is hashed behind
// the salt; 128 digests make a block of the level above, the last one filled up with zeros; the digest of the only block of
// the highest level is the root hash.
// Source: Linux, Documentation/admin-guide/device-mapper/verity.rst, "Hash Tree".
func treeHash(ctx context.Context, r io.Reader, blocks uint64, salt []byte) (sum [sha256.Size]byte, err error) {
	t := tree{salt: salt, hash: sha256.New()}
	buf := make([]byte, 256*verity.BlockSize)
	for left := blocks; left > 0; {
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		b := buf[:min(left, 256)*verity.BlockSize]
		if _, err := io.ReadFull(r, b); err != nil {
			return sum, fmt.Errorf("read block %d of the root: %w", blocks-left, err)
		}
		for ; len(b) > 0; b = b[verity.BlockSize:] {
			t.add(0, t.digest(b[:verity.BlockSize]))
			left--
		}
	}
	return t.root(), nil
}

// tree is a hash tree of which every level has only the block that is not full yet.
type tree struct {
	salt   []byte
	hash   hash.Hash
	levels [][]byte
}

func (t *tree) digest(block []byte) []byte {
	t.hash.Reset()
	t.hash.Write(t.salt)
	t.hash.Write(block)
	return t.hash.Sum(nil)
}

func (t *tree) add(level int, digest []byte) {
	if level == len(t.levels) {
		t.levels = append(t.levels, make([]byte, 0, verity.BlockSize))
	}
	if len(t.levels[level]) == verity.BlockSize {
		t.up(level)
	}
	t.levels[level] = append(t.levels[level], digest...)
}

// up hands the digest of a level's block to the level above.
func (t *tree) up(level int) {
	block := t.levels[level]
	block = append(block, make([]byte, verity.BlockSize-len(block))...)
	digest := t.digest(block)
	t.levels[level] = t.levels[level][:0]
	t.add(level+1, digest)
}

// root finishes the tree: a level that is the highest and has one digest is the end of it.
func (t *tree) root() (sum [sha256.Size]byte) {
	for level := 0; level < len(t.levels); level++ {
		if level == len(t.levels)-1 && len(t.levels[level]) == sha256.Size {
			return [sha256.Size]byte(t.levels[level])
		}
		if len(t.levels[level]) > 0 {
			t.up(level)
		}
	}
	return sum
}
