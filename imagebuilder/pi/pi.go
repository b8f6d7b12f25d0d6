// Package pi makes what the Raspberry Pi's firmware reads where it starts the kernel itself, without U-Boot.
//
//	config.txt            the board's; it includes slot.txt
//	slot.txt              512 bytes: which slot the firmware starts
//	slot-a/linux          Image
//	slot-a/initrd.img
//	slot-a/cmdline.txt    the kernel command line, one line
//	slot-a/*.dtb          device trees
//
// slot.txt is one sector, overwritten in place, so that a power cut leaves the old or the new slot.
// The firmware cannot count tries.
//
// Source: Raspberry Pi documentation, "config.txt" (include, os_prefix, cmdline) and "Boot flow".
package pi

import (
	"fmt"
	"strings"
)

// SlotSize is the size of slot.txt, bytes.
const SlotSize = 512

// Slot returns slot.txt for a slot, "a" or "b". The rest of the sector is a comment, in lines that are
// shorter than the firmware's limit of 98 characters.
func Slot(slot string) []byte {
	text := "os_prefix=" + Folder(slot)
	var out strings.Builder
	out.WriteString(text + "\n")
	for out.Len() < SlotSize {
		n := min(64, SlotSize-out.Len())
		out.WriteString(strings.Repeat("#", n-1) + "\n")
	}
	return []byte(out.String())
}

// Folder is the folder of a slot on the FAT partition, with a slash at its end.
func Folder(slot string) string { return "slot-" + slot + "/" }

// Cmdline returns cmdline.txt. The firmware takes the first line alone.
func Cmdline(line string) ([]byte, error) {
	if strings.ContainsAny(line, "\x00\n\r") {
		return nil, fmt.Errorf("pi: kernel command line %q: has a line break or NUL", line)
	}
	return []byte(line + "\n"), nil
}
