// Package verity finds out whether a partition holds the root that a boot image was
// built for, and writes the device-mapper line that opens it.
//
// The root hash, the number of data blocks, the place of the hash area and the salt come
// from the kernel command line, which is part of the signed or measured boot image:
//
//	roothash=HEX keelson.verity=DATABLOCKS:HASHOFFSET:SALT
//
// HASHOFFSET is in bytes and is what veritysetup's --hash-offset takes: a superblock lies
// there, and the tree begins in the block after it. The superblock itself is never
// believed.
// Source: Documentation/admin-guide/device-mapper/verity.rst.
package verity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// BlockSize is the size of data and hash blocks, in bytes.
const BlockSize = 4096

// The kernel parameters.
const (
	RootHashParam = "roothash"
	Param         = "keelson.verity"
)

// maxBlocks bounds the data area: 2^40 blocks are 4 EiB.
const maxBlocks = 1 << 40

// Params describe one root.
type Params struct {
	RootHash   [sha256.Size]byte
	DataBlocks uint64
	HashOffset uint64 // of the superblock, in bytes from the start of the partition
	Salt       []byte // at most 256 bytes
}

// Parse reads the values of RootHashParam and Param.
func Parse(rootHash, spec string) (Params, error) {
	var p Params
	sum, err := hex.DecodeString(rootHash)
	if err != nil || len(sum) != len(p.RootHash) {
		return p, fmt.Errorf("kernel parameter %s=%s: want %d hex digits", RootHashParam, rootHash, 2*len(p.RootHash))
	}
	copy(p.RootHash[:], sum)
	fields := strings.Split(spec, ":")
	if len(fields) != 3 {
		return p, fmt.Errorf("kernel parameter %s=%s: want DATABLOCKS:HASHOFFSET:SALT", Param, spec)
	}
	p.DataBlocks, err = strconv.ParseUint(fields[0], 10, 64)
	if err != nil || p.DataBlocks == 0 || p.DataBlocks > maxBlocks {
		return p, fmt.Errorf("kernel parameter %s=%s: data blocks: want 1 to %d", Param, spec, uint64(maxBlocks))
	}
	p.HashOffset, err = strconv.ParseUint(fields[1], 10, 64)
	if err != nil || p.HashOffset%BlockSize != 0 || p.HashOffset < p.DataBlocks*BlockSize || p.HashOffset > 2*maxBlocks*BlockSize {
		return p, fmt.Errorf("kernel parameter %s=%s: hash offset: want a multiple of %d after the data", Param, spec, BlockSize)
	}
	p.Salt, err = hex.DecodeString(fields[2])
	if err != nil || len(p.Salt) > 256 {
		return p, fmt.Errorf("kernel parameter %s=%s: salt: want at most 512 hex digits", Param, spec)
	}
	return p, nil
}

// treeBlock is the block where the tree begins: with its top, except that one data block
// has no tree.
func (p Params) treeBlock() uint64 { return p.HashOffset/BlockSize + 1 }

// Size is how many bytes of the partition the data and the tree take.
func (p Params) Size() uint64 {
	blocks := uint64(0)
	for n := p.DataBlocks; n > 1; {
		n = (n + BlockSize/sha256.Size - 1) / (BlockSize / sha256.Size)
		blocks += n
	}
	return (p.treeBlock() + blocks) * BlockSize
}

// TopDigest reads the top block of the tree on partition r and returns its salted digest,
// which is the root hash if this is the root that p describes. A partition that is too
// short is io.ErrUnexpectedEOF.
func (p Params) TopDigest(r io.ReaderAt) (sum [sha256.Size]byte, err error) {
	at := p.treeBlock() * BlockSize
	if p.DataBlocks == 1 {
		at = 0
	}
	block := make([]byte, BlockSize)
	if n, err := r.ReadAt(block, int64(at)); n < len(block) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return sum, fmt.Errorf("read top hash block at byte %d: %w", at, err)
	}
	h := sha256.New()
	h.Write(p.Salt)
	h.Write(block)
	h.Sum(sum[:0])
	return sum, nil
}

// HasSuperblock reports whether a verity superblock lies where p expects it. It is only
// good for a better error text.
func (p Params) HasSuperblock(r io.ReaderAt) bool {
	magic := make([]byte, 8)
	n, _ := r.ReadAt(magic, int64(p.HashOffset))
	return n == len(magic) && bytes.Equal(magic, []byte("verity\x00\x00"))
}

// Sectors is the length of the verified device in sectors of 512 bytes.
func (p Params) Sectors() uint64 { return p.DataBlocks * (BlockSize / 512) }

// Table returns the parameters of the device-mapper target "verity" with data and tree on
// the block device at path dev. A corrupted block is an I/O error for who reads it.
func (p Params) Table(dev string) string {
	salt := hex.EncodeToString(p.Salt)
	if salt == "" {
		salt = "-"
	}
	return fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %s",
		dev, dev, BlockSize, BlockSize, p.DataBlocks, p.treeBlock(), p.RootHash, salt)
}
