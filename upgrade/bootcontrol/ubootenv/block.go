package ubootenv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// BlockSize is the size of a block of boot state, bytes.
const BlockSize = 0x1000

// Variable is one variable of a block.
type Variable struct{ Name, Value string }

// Block returns a block of boot state with the variables. Equal variables give equal bytes.
// Errors: names or values with NUL or, in names, "="; more than fits.
func Block(variables ...Variable) ([]byte, error) {
	out := make([]byte, BlockSize)
	at := 4
	for _, v := range variables {
		text := v.Name + "=" + v.Value
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(v.Value, "\x00") {
			return nil, fmt.Errorf("ubootenv: variable %q: want a name without =, and no NUL", text)
		}
		if at+len(text)+2 > BlockSize {
			return nil, fmt.Errorf("ubootenv: variables need more than the %d bytes of a block", BlockSize)
		}
		at += copy(out[at:], text) + 1
	}
	binary.LittleEndian.PutUint32(out, crc32.ChecksumIEEE(out[4:]))
	return out, nil
}

// Places on the disk: its sectors, of 512 bytes. The bootstate area begins at 15 MiB.
const (
	StateSector     = 15 << 20 / 512
	CommittedSector = StateSector
	TrialSector     = StateSector + 8
	CopySector      = StateSector + 16
)

// ErrNotBlock is returned for what U-Boot would not import.
var ErrNotBlock = errors.New("not a block with a valid checksum")

// Variables returns the variables of a block, in its order, as "env import -c" reads them: up to the first empty one; of two of one
// name the later counts. Errors wrap ErrNotBlock.
// Source: U-Boot 2025.01, cmd/nvedit.c, do_env_import; lib/hashtable.c, himport_r.
func Variables(block []byte) ([]Variable, error) {
	if len(block) != BlockSize {
		return nil, fmt.Errorf("ubootenv: %w: %d bytes, want %d", ErrNotBlock, len(block), BlockSize)
	}
	if got, want := crc32.ChecksumIEEE(block[4:]), binary.LittleEndian.Uint32(block); got != want {
		return nil, fmt.Errorf("ubootenv: %w: CRC-32 is %#08x, the block says %#08x", ErrNotBlock, got, want)
	}
	var out []Variable
	for rest := block[4:]; ; {
		line, after, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(line) == 0 {
			return out, nil
		}
		rest = after
		if name, value, ok := strings.Cut(string(line), "="); ok && name != "" {
			out = append(out, Variable{name, value})
		}
	}
}

// New returns the content of the bootstate area of a new disk: slot a is committed, no trial.
func New() ([]byte, error) {
	block, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		return nil, err
	}
	out := make([]byte, 3*BlockSize)
	copy(out, block)
	copy(out[2*BlockSize:], block)
	return out, nil
}
