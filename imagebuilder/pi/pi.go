// Package pi makes what the Raspberry Pi's firmware reads where it starts the kernel itself, without U-Boot.
//
//	config.txt            the board's; it includes slot.txt
//	slot.txt              512 bytes: which slot the firmware starts; package upgrade/bootcontrol/pislot makes it
//	slot-a/linux          Image
//	slot-a/initrd.img
//	slot-a/cmdline.txt    the kernel command line, one line
//	slot-a/*.dtb          device trees
//
// Source: Raspberry Pi documentation, "config.txt" (include, os_prefix, cmdline) and "Boot flow".
package pi

import (
	"fmt"
	"strings"
)

// Cmdline returns cmdline.txt. The firmware takes the first line alone.
func Cmdline(line string) ([]byte, error) {
	if strings.ContainsAny(line, "\x00\n\r") {
		return nil, fmt.Errorf("pi: kernel command line %q: has a line break or NUL", line)
	}
	return []byte(line + "\n"), nil
}
