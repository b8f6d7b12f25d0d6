package boot

import (
	"strings"

	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/efivar"
)

// espParam is the kernel parameter with which GRUB, started by a BIOS, names the ESP of its disk: a partition
// UUID, or nothing if it found none. See package imagebuilder/grub.
const espParam = "keelson.esp"

// bootESP returns the lower-case partition UUID of the ESP we were booted from, or "" when no boot loader said: every
// disk is then looked at. efivars is where efivarfs is mounted.
func bootESP(efivars string, params cmdline.Params) string {
	esp, err := efivar.DevicePartUUID(efivars)
	if err != nil {
		esp, _ = params.Get(espParam)
	}
	return strings.ToLower(esp)
}
