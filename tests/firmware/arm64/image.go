// Package arm64 reads the header of a Linux kernel for arm64.
// Source: Linux Documentation/arch/arm64/booting.rst, "Call the kernel image".
package arm64

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the size of the header in bytes.
const HeaderSize = 64

// ErrNotImage means that the file is no kernel image: it lacks "ARM\x64" at byte 56.
var ErrNotImage = errors.New(`no arm64 kernel image ("ARM\x64" at byte 56)`)

// Header is what a boot loader needs to know of a kernel image.
type Header struct {
	TextOffset uint64 // bytes from a boundary of 2 MiB to where the image must be
	ImageSize  uint64 // bytes of memory it takes from there, with what it clears; more than the file has
	Anywhere   bool   // the boundary may be any; else as near to the start of memory as possible
	PageSize   int    // bytes; 0 when not told
}

// Align is what the address minus TextOffset must be a multiple of.
const Align = 2 << 20

// Parse reads the header. Errors: ErrNotImage; a header that no kernel since 3.17 has.
func Parse(file []byte) (Header, error) {
	if len(file) < HeaderSize || string(file[56:60]) != "ARM\x64" {
		return Header{}, ErrNotImage
	}
	le := binary.LittleEndian
	flags := le.Uint64(file[24:])
	h := Header{
		TextOffset: le.Uint64(file[8:]), ImageSize: le.Uint64(file[16:]), Anywhere: flags&8 != 0,
		PageSize: []int{0, 4 << 10, 16 << 10, 64 << 10}[flags>>1&3],
	}
	if flags&1 != 0 {
		return h, errors.New("arm64 kernel image: big endian")
	}
	if h.ImageSize < uint64(len(file)) || h.ImageSize > 1<<30 || h.TextOffset >= Align {
		return h, fmt.Errorf("arm64 kernel image: image_size %#x, text_offset %#x, file of %#x bytes", h.ImageSize, h.TextOffset, len(file))
	}
	return h, nil
}
