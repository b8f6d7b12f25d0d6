package uboot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// headerSize is the size of a legacy image header in bytes (include/image.h, struct legacy_img_hdr).
const headerSize = 64

// ErrNotScript means that a file is no script image.
var ErrNotScript = errors.New("no U-Boot script image")

// Script takes the text out of a boot.scr: a legacy image of type "script" (6), big endian, with CRC32s of its header
// and its data; the data are a list of lengths that ends with 0, and the texts, of which U-Boot runs the first.
// Errors: ErrNotScript, with what is wrong.
func Script(file []byte) (string, error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrNotScript)
	}
	if len(file) < headerSize {
		return refuse("%d bytes", len(file))
	}
	be := binary.BigEndian
	if m := be.Uint32(file); m != 0x27051956 {
		return refuse("magic number %#08x, want 0x27051956", m)
	}
	head := append([]byte(nil), file[:headerSize]...)
	clear(head[4:8])
	if got, want := crc32.ChecksumIEEE(head), be.Uint32(file[4:]); got != want {
		return refuse("CRC32 of the header %#08x, it says %#08x", got, want)
	}
	size := int64(be.Uint32(file[12:]))
	if size > int64(len(file)-headerSize) {
		return refuse("%d bytes of data, %d are there", size, len(file)-headerSize)
	}
	data := file[headerSize:][:size]
	if got, want := crc32.ChecksumIEEE(data), be.Uint32(file[24:]); got != want {
		return refuse("CRC32 of the data %#08x, the header says %#08x", got, want)
	}
	if file[30] != 6 {
		return refuse("type %d, want 6 (script)", file[30])
	}
	if file[31] != 0 {
		return refuse("compression %d, want 0 (none)", file[31])
	}
	if len(data) < 8 {
		return refuse("%d bytes of data", len(data))
	}
	length := int64(be.Uint32(data))
	at := 0
	for ; be.Uint32(data[at:]) != 0; at += 4 {
		if at+8 > len(data) {
			return refuse("the list of lengths has no end")
		}
	}
	at += 4
	if length == 0 || length > int64(len(data)-at) {
		return refuse("text of %d bytes, %d are there", length, len(data)-at)
	}
	return string(data[at:][:length]), nil
}
