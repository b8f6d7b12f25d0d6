package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Files of slot a on the FAT partition of the boot chains without UEFI.
const (
	slotKernel  = "slot-a/linux"
	slotInitrd  = "slot-a/initrd.img"
	slotEnv     = "slot-a/boot.env"    // U-Boot: a line "keelson_args=..."
	slotCmdline = "slot-a/cmdline.txt" // Raspberry Pi 5
	pi3Tree     = "bcm2837-rpi-3-b.dtb"
)

// kernelFiles are what QEMU loads in place of a firmware: names in the machine's folder,
// and the kernel's command line. It is empty for a machine with a firmware.
type kernelFiles struct {
	kernel, initrd, tree string // tree is empty: QEMU makes the device tree
	cmdline              string
}

// prepareKernel takes slot a's kernel out of the image, as the firmware would. The image
// and not the machine's disk is read: a slot that the machine was upgraded to is not seen.
func (m *Machine) prepareKernel(raw string) (err error) {
	m.kernel = kernelFiles{}
	if !m.platform.loadsKernel() {
		return nil
	}
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, fat, err := openBoot(f)
	if err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	k := kernelFiles{kernel: kernelName, initrd: initrdName}
	files := [][2]string{{slotKernel, k.kernel}, {slotInitrd, k.initrd}}
	if m.platform.Firmware == FirmwarePi3 {
		k.tree = treeName
		files = append(files, [2]string{pi3Tree, k.tree})
	}
	for _, x := range files {
		if err := m.extract(fat, x[0], x[1]); err != nil {
			return fmt.Errorf("%s: the boot partition: %w", raw, err)
		}
	}
	if k.cmdline, err = slotArguments(fat); err != nil {
		return fmt.Errorf("%s: the boot partition: %w", raw, err)
	}
	k.cmdline = forMachine(m.platform.Firmware, k.cmdline)
	m.kernel = k
	return nil
}

func (m *Machine) extract(fat *disk.FAT, from, to string) error {
	data, err := fat.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(m.path(to), data, 0o600)
}

// slotArguments reads slot a's kernel command line.
func slotArguments(fat *disk.FAT) (string, error) {
	const key = "keelson_args="
	text, err := fat.ReadFile(slotEnv)
	if errors.Is(err, fs.ErrNotExist) {
		text, err := fat.ReadFile(slotCmdline)
		return strings.TrimSpace(string(text)), err
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s: has no line %q", slotEnv, key+"...")
}

// forMachine adapts a board's kernel command line to the machine that starts it without the board's loader.
func forMachine(f Firmware, cmdline string) string {
	if f == FirmwarePi3 {
		// QEMU's watchdog of the Raspberry Pi resets the machine as soon as it is started.
		return cmdline + " module_blacklist=bcm2835_wdt"
	}
	return withConsole(cmdline)
}

// withConsole makes the PL011 serial port /dev/console, which QEMU's virt has as its first: the last console=
// wins. The board's own ports stay, but for PL011s: the kernel gives its only one the first such number, and has
// no console at all when that is not the port's (ttyAMA10 of a Raspberry Pi 5).
// Source: kernel/printk/printk.c, try_enable_preferred_console.
func withConsole(cmdline string) string {
	const console = "console=ttyAMA0,115200"
	words := slices.DeleteFunc(strings.Fields(cmdline), func(w string) bool { return strings.HasPrefix(w, "console=ttyAMA") })
	return strings.Join(append(words, console), " ")
}
