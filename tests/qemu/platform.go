package qemu

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Firmware is what starts the machine.
type Firmware string

// The firmwares. The empty one is that of the image: see Config.Firmware.
const (
	// FirmwareUEFI is EDK2: OVMF on amd64 (q35), AAVMF on arm64 (virt).
	FirmwareUEFI Firmware = "uefi"
	// FirmwareBIOS is SeaBIOS on amd64 (q35).
	FirmwareBIOS Firmware = "bios"
	// FirmwareUBoot is U-Boot for QEMU's generic arm64 machine (virt). It stands in for the
	// U-Boot of a board: the script on the disk is the same, the devices are not.
	FirmwareUBoot Firmware = "u-boot"
	// FirmwareNone is an arm64 machine (virt) without any: QEMU itself loads the kernel of
	// slot a of the image, so nothing on the disk chooses the slot.
	FirmwareNone Firmware = "none"
	// FirmwarePi3 is QEMU's Raspberry Pi 3B with its 1 GiB of memory, SD card and USB network
	// card. QEMU plays the closed firmware: it loads kernel, initramfs and device tree of slot a.
	// It has no power button: Kill it.
	FirmwarePi3 Firmware = "raspi3b"
)

// Architectures, as Go and Debian name them.
const (
	amd64 = "amd64"
	arm64 = "arm64"
)

// Platform is a kind of machine.
type Platform struct {
	Arch     string // amd64 or arm64
	Firmware Firmware
}

func (p Platform) String() string { return p.Arch + " with " + string(p.Firmware) }

// program is QEMU's for the architecture, with the Debian package that has it.
func (p Platform) program() (name, pkg string) {
	if p.Arch == arm64 {
		return "qemu-system-aarch64", "qemu-system-arm"
	}
	return "qemu-system-x86_64", "qemu-system-x86"
}

// loadsKernel reports whether QEMU loads the kernel, since no firmware does.
func (p Platform) loadsKernel() bool {
	return p.Firmware == FirmwareNone || p.Firmware == FirmwarePi3
}

// ErrFirmware means that an image cannot start by a firmware, or by none that QEMU has.
var ErrFirmware = errors.New("the image cannot start by this firmware")

// platform chooses the machine for an image: by the wanted firmware, or the image's own.
func (i *imageFacts) platform(want Firmware) (Platform, error) {
	var names []string
	for _, f := range i.firmwares {
		names = append(names, string(f))
	}
	switch {
	case want == "" && i.refuse != "":
		return Platform{}, fmt.Errorf("%w: %s", ErrFirmware, i.refuse)
	case want == "":
		want = i.firmwares[0]
	case !slices.Contains(i.firmwares, want):
		return Platform{}, fmt.Errorf("%w: found %q, expected %s for an image with %s", ErrFirmware, want, strings.Join(names, " or "), i.chain)
	}
	return Platform{Arch: i.arch, Firmware: want}, nil
}

// fit gives the fields that depend on the machine their defaults and refuses what the
// machine does not have.
func (c *Config) fit(p Platform) error {
	memory, cpus, disk, nic := 2048, 2, DiskVirtio, NICVirtio
	pi := p.Firmware == FirmwarePi3
	if pi {
		memory, cpus, disk, nic = 1024, 4, DiskSD, NICUSB
	}
	c.MemoryMB, c.CPUs = cmp.Or(c.MemoryMB, memory), cmp.Or(c.CPUs, cpus)
	c.Disk, c.NIC = cmp.Or(c.Disk, disk), cmp.Or(c.NIC, nic)
	var errs []error
	if pi {
		if c.MemoryMB != memory || c.CPUs != cpus {
			errs = append(errs, fmt.Errorf("a raspi3b has 1024 MiB and 4 processors, found %d MiB and %d", c.MemoryMB, c.CPUs))
		}
		if c.Disk != disk {
			errs = append(errs, fmt.Errorf("disk: found %q, expected sd on a raspi3b", c.Disk))
		}
		if c.NIC != nic && c.NIC != NICNone {
			errs = append(errs, fmt.Errorf("nic: found %q, expected usb or none on a raspi3b", c.NIC))
		}
		if c.Accel == AccelKVM {
			errs = append(errs, errors.New("accel: a raspi3b is always emulated, expected auto or tcg"))
		}
	} else if c.Disk == DiskSD {
		errs = append(errs, errors.New("disk: only a raspi3b has an SD card, expected virtio, sata, nvme or usb"))
	}
	return errors.Join(errs...)
}
