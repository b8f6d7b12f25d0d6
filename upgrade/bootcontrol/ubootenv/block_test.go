package ubootenv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func TestBlockIsWhatMkenvimageMakes(t *testing.T) {
	mkenvimage := reftool.Need(t, "mkenvimage", "u-boot-tools")
	got, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("ab_default=a\nab_gen=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(mkenvimage, "-s", "0x1000", "-p", "0x00", "-o", filepath.Join(dir, "out"), filepath.Join(dir, "in"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkenvimage: %v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("Block = % x…, mkenvimage makes % x…", got[:32], want[:32])
	}
}

func TestBlockRefusesWhatItCannotHold(t *testing.T) {
	for _, v := range []Variable{{"", "x"}, {"a=b", "x"}, {"a", "x\x00"}, {"a", strings.Repeat("x", BlockSize-7)}} {
		if _, err := Block(v); err == nil {
			t.Errorf("Block(%.20q) = nil, want an error", v)
		}
	}
	if _, err := Block(Variable{"a", strings.Repeat("x", BlockSize-8)}); err != nil {
		t.Errorf("Block of all it can hold: %v", err)
	}
}

func TestANewDiskHasSlotACommittedTwiceAndNoTrial(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	first, trial, second := s[:BlockSize], s[BlockSize:2*BlockSize], s[2*BlockSize:]
	if !bytes.Equal(first, second) || !bytes.Equal(first[4:24], []byte("ab_default=a\x00ab_gen=1")[:20]) {
		t.Errorf("committed blocks: %q, %q", first[:32], second[:32])
	}
	if binary.LittleEndian.Uint32(trial) == crc32.ChecksumIEEE(trial[4:]) {
		t.Error("the trial block of a new disk has a valid checksum")
	}
}

func TestVariablesOfDamagedBlocks(t *testing.T) {
	want := []Variable{{"ab_try", "b"}, {"ab_left", "3"}}
	whole, err := Block(want...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Variables(whole); err != nil || !slices.Equal(got, want) {
		t.Errorf("Variables of a whole block = %v, %v, want %v", got, err, want)
	}
	for i := range whole {
		if i > 40 && i%97 != 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 1
		if got, err := Variables(b); !errors.Is(err, ErrNotBlock) {
			t.Errorf("Variables with another byte %d = %v, %v, want ErrNotBlock", i, got, err)
		}
	}
	for _, b := range [][]byte{nil, whole[:BlockSize-1], make([]byte, BlockSize)} {
		if _, err := Variables(b); !errors.Is(err, ErrNotBlock) {
			t.Errorf("Variables of %d bytes = %v, want ErrNotBlock", len(b), err)
		}
	}
}

func FuzzVariables(f *testing.F) {
	f.Add([]byte("ab_default=a\x00ab_gen=7\x00"))
	f.Add([]byte("=\x00x\x00a=b=c\x00\x00d=e"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := make([]byte, BlockSize)
		copy(b[4:], text)
		binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
		got, err := Variables(b)
		if err != nil {
			t.Fatalf("Variables of a block with a valid checksum = %v", err)
		}
		again, err := Block(got...)
		if err != nil {
			t.Fatalf("Block(%q) = %v", got, err)
		}
		if second, err := Variables(again); err != nil || !slices.Equal(got, second) {
			t.Errorf("Variables(Block(%q)) = %q, %v", got, second, err)
		}
	})
}
