// Package smallsystem makes systems of about a mebibyte, and disks of 61 MiB with one of them in slot a, for every boot chain. The readers
// of tests/firmware find nothing wrong with them. A root has a real hash tree, and the kernel command line its root hash: so
// which slot boots, and whether it is whole, can be read from a disk.
package smallsystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/verity"
)

const (
	mib       = 1 << 20
	blockSize = verity.BlockSize
)

// Chain is a boot chain, by the name that package bootcontrol gives it.
type Chain string

// The boot chains.
const (
	UEFI     Chain = "uefi"      // arm64, GPT
	UEFIGRUB Chain = "uefi+grub" // x86-64, GPT
	UBoot    Chain = "u-boot"    // Rock64, GPT
	Pi       Chain = "pi"        // Raspberry Pi 5, MBR
)

// Chains are all of them.
var Chains = []Chain{UEFI, UEFIGRUB, UBoot, Pi}

// System is what one slot holds.
type System struct {
	Name     string // "one"
	Root     []byte // root partition's content: data, superblock, hash tree
	RootHash string // hexadecimal
	Boot     map[string][]byte
}

// DataBlocks is how many blocks of 4 KiB the data of a root made of Plain has.
const DataBlocks = 200

// Plain are the contents of a root's blocks, by number: two roots with the same number in it have that block in common.
func Plain() []int {
	b := make([]int, DataBlocks)
	for i := range b {
		b[i] = i
	}
	return b
}

// New makes a system for a chain. The name makes its boot files others than those of another name; blocks are the contents of its
// root's data, in order; 0 is a block of zeros.
func New(t testing.TB, c Chain, name string, blocks []int) *System {
	t.Helper()
	s := &System{Name: name}
	if err := s.root(t.TempDir(), blocks); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.Boot, err = s.boot(c); err != nil {
		t.Fatal(err)
	}
	return s
}

// Block is the content of a data block by its number.
func Block(n int) []byte {
	b := make([]byte, blockSize)
	if n != 0 {
		_, _ = rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))).Read(b) // never fails
	}
	return b
}

func (s *System) root(dir string, blocks []int) error {
	var data []byte
	for _, n := range blocks {
		data = append(data, Block(n)...)
	}
	path := filepath.Join(dir, "root")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	tree, err := verity.Append(context.Background(), f, int64(len(data)), sha256.Sum256([]byte("salt")), [16]byte{})
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.RootHash = hex.EncodeToString(tree.RootHash[:])
	if s.Root, err = os.ReadFile(path); err != nil {
		return err
	}
	s.Boot = map[string][]byte{"": fmt.Appendf(nil, "roothash=%x keelson.verity=%d:%d:%x quiet", tree.RootHash, tree.DataBlocks, tree.HashOffset, tree.Salt)}
	return nil
}

// Holds says whether the partition at off of a disk holds the system's root.
func (s *System) Holds(disk io.ReaderAt, off int64) bool {
	b := make([]byte, len(s.Root))
	_, err := disk.ReadAt(b, off)
	return err == nil && bytes.Equal(b, s.Root)
}

var verityArg = regexp.MustCompile(`roothash=([0-9a-f]{64}) keelson\.verity=(\d+):(\d+):([0-9a-f]{64})`)

// Verify checks that the root that a kernel command line names is in the partition at off of the disk, every bit of it, by building its
// hash tree anew. It returns the root hash.
func Verify(disk io.ReaderAt, off int64, cmdline string) (rootHash string, err error) {
	m := verityArg.FindStringSubmatch(cmdline)
	if m == nil {
		return "", fmt.Errorf("command line %q: has no root", cmdline)
	}
	blocks, err := strconv.ParseInt(m[2], 10, 32)
	if err != nil {
		return "", err
	}
	hashAt, err := strconv.ParseInt(m[3], 10, 32)
	if err != nil {
		return "", err
	}
	salt, err := hex.DecodeString(m[4])
	if err != nil {
		return "", err
	}
	level := make([]byte, blocks*blockSize)
	if _, err := disk.ReadAt(level, off); err != nil {
		return "", err
	}
	// The levels as they are on the disk, the highest one first; each must be what the one below it gives.
	var levels [][]byte
	for len(level) > blockSize {
		var next []byte
		for b := range chunks(level) {
			h := sha256.Sum256(append(bytes.Clone(salt), b...))
			next = append(next, h[:]...)
		}
		level = append(next, make([]byte, (blockSize-len(next)%blockSize)%blockSize)...)
		levels = append(levels, level)
	}
	if h := sha256.Sum256(append(bytes.Clone(salt), level...)); hex.EncodeToString(h[:]) != m[1] {
		return "", fmt.Errorf("the data at byte %d of the disk have root hash %x, the command line says %s", off, h, m[1])
	}
	at := off + hashAt + blockSize
	for i := len(levels) - 1; i >= 0; i-- {
		there := make([]byte, len(levels[i]))
		if _, err := disk.ReadAt(there, at); err != nil {
			return "", err
		}
		if !bytes.Equal(there, levels[i]) {
			return "", fmt.Errorf("the hash tree at byte %d of the disk is not that of its data", at)
		}
		at += int64(len(there))
	}
	return m[1], nil
}

func chunks(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(b) > 0; b = b[blockSize:] {
			if !yield(b[:blockSize]) {
				return
			}
		}
	}
}

// Time is that of all files.
var Time = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// noise is n bytes that depend on the name.
func noise(name string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b) // never fails
	return b
}
