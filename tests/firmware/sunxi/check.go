package sunxi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/fdt"
)

// Board is a board with an A64.
type Board struct {
	Name string
	Tree string // name of the device tree that SPL says it is for; "" when any will do
}

// The boards.
var (
	Pine64    = Board{"Pine A64+", "sun50i-a64-pine64-plus"}
	Pine64LTS = Board{"Pine A64-LTS", "sun50i-a64-pine64-lts"}
)

// Sizes and places, in bytes.
const (
	low      = 8 << 10   // where the ROM looks first
	high     = 128 << 10 // and then
	sram     = 32 << 10  // what it loads at most: SRAM A1
	sramAt   = 0x10000
	fitAfter = 32 << 10 // from SPL's beginning
	stamp    = 0x5F0A6C39
)

var errNoEGON = errors.New("no eGON.BT0 header")

// checkEGON checks the program that begins with an eGON header: its length, its checksum.
// The checksum is the sum of all words, with a constant in its own place.
func checkEGON(head []byte, read func(n int64) ([]byte, error)) (length int64, tree string, err error) {
	if len(head) < 0x60 || string(head[4:12]) != "eGON.BT0" {
		return 0, "", errNoEGON
	}
	le := binary.LittleEndian
	if head[3] != 0xEA {
		return 0, "", fmt.Errorf("the first instruction is %#08x, want a branch (0xea……)", le.Uint32(head))
	}
	length = int64(le.Uint32(head[16:]))
	if length == 0 || length%512 != 0 || length > sram {
		return 0, "", fmt.Errorf("length %d, want a multiple of 512 up to %d", length, sram)
	}
	data, err := read(length)
	if err != nil {
		return length, "", err
	}
	want := le.Uint32(data[12:])
	sum := uint32(stamp) - want
	for i := 0; i+4 <= len(data); i += 4 {
		sum += le.Uint32(data[i:])
	}
	if sum != want {
		return length, "", fmt.Errorf("checksum %#08x, the header says %#08x", sum, want)
	}
	// SPL's own part of the header: version 0.2 and later has the name of its device tree.
	if at := int64(le.Uint32(data[0x20:])); string(data[0x14:0x17]) == "SPL" && data[0x17] >= 2 && at > 0 && at < length {
		end := at
		for end < length && data[end] != 0 {
			end++
		}
		tree = string(data[at:end])
	}
	return length, tree, nil
}

// Check reads the disk as the board does, as far as U-Boot: package uboot goes on from there.
func Check(image io.ReaderAt, size int64, b Board) (firmware.Report, error) {
	r := firmware.Report{Machine: b.Name}
	table, err := disk.Read(image, size)
	if err != nil {
		return r, err
	}
	var start, length int64
	var tree string
	var found error
	for _, at := range []int64{low, high} {
		head := make([]byte, disk.SectorSize)
		if _, err := image.ReadAt(head, at); err != nil {
			return r, err
		}
		length, tree, found = checkEGON(head, func(n int64) ([]byte, error) {
			data := make([]byte, n)
			_, err := image.ReadAt(data, at)
			return data, err
		})
		if found == nil {
			start = at
			break
		}
		if !errors.Is(found, errNoEGON) {
			r.Faultf("at byte %d: %v", at, found)
		}
	}
	if found != nil {
		r.Faultf("the boot ROM finds no program at %d nor at %d: %v", low, high, found)
		return r, nil
	}
	free := func(what string, from, to int64) {
		if in := table.Free(from, to); in != "" {
			r.Faultf("%s at bytes [%d, %d) overlaps %s", what, from, to, in)
		}
	}
	r.Load("boot ROM", fmt.Sprintf("byte %d: SPL", start), length, firmware.At(sramAt, uint64(length)))
	free("SPL", start, start+length)
	if b.Tree != "" && tree != "" && tree != b.Tree {
		r.Faultf("SPL is for %s, the board is %s", tree, b.Tree)
	}
	at := start + max(fitAfter, length)
	f, err := fdt.ReadFIT(image, at)
	if err != nil {
		r.Faultf("U-Boot: %v", err)
		return r, nil
	}
	f.Place(&r, "SPL")
	free("U-Boot's FIT", at, at+f.Size)
	f.Faults(&r, "U-Boot's FIT")
	return r, nil
}
