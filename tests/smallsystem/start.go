package smallsystem

import (
	"bytes"
	"fmt"
	"path"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/bios"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/pi"
	"github.com/keelson-os/keelson/tests/firmware/uboot"
	"github.com/keelson-os/keelson/tests/firmware/uefi"
)

// Firmware starts a disk, and says what it would boot. A try that it counts stays in d.
type Firmware struct {
	Name  string
	Start func(d *disk.Overlay) (firmware.Report, error)
}

// Firmwares are those that a chain's disk is for.
func (c Chain) Firmwares() []Firmware {
	efi := func(a uefi.Arch) Firmware {
		return Firmware{a.Name, func(d *disk.Overlay) (firmware.Report, error) { return uefi.Start(d, Size, a) }}
	}
	switch c {
	case UEFI:
		return []Firmware{efi(uefi.ARM64)}
	case UEFIGRUB:
		return []Firmware{efi(uefi.AMD64), {"BIOS", func(d *disk.Overlay) (firmware.Report, error) { return bios.Start(d, Size) }}}
	case UBoot:
		return []Firmware{{"U-Boot", func(d *disk.Overlay) (firmware.Report, error) { return uboot.Start(d, Size, uboot.Rock64) }}}
	case Pi:
		for _, m := range pi.Models {
			if m.Gen == pi.Gen5 {
				return []Firmware{{m.Name, func(d *disk.Overlay) (firmware.Report, error) { return pi.Check(d, Size, m) }}}
			}
		}
	}
	return nil
}

// Boots starts a disk and returns which of the systems it boots. It is an error if that is none of them, or not whole: a fault that the
// firmware finds, a boot file that is not the system's, a root that is in neither slot, a bit of it that is not as its hash tree says.
// d keeps a try that was counted.
func Boots(f Firmware, d *disk.Overlay, systems ...*System) (*System, error) {
	r, err := f.Start(d)
	if err != nil {
		return nil, err
	}
	if faults := disk.Lasting(r.Faults); len(faults) > 0 {
		return nil, fmt.Errorf("%s: %s\n%s", f.Name, faults[0], r)
	}
	root, err := rootOf(d, r.Cmdline)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", f.Name, err, r)
	}
	var s *System
	for _, x := range systems {
		if x.RootHash == root {
			s = x
		}
	}
	if s == nil {
		return nil, fmt.Errorf("%s: boots root %s, which is none of the systems'\n%s", f.Name, root, r)
	}
	if err := s.checkFiles(d, r.Kernel); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", f.Name, err, r)
	}
	return s, nil
}

// rootOf verifies the root that a command line names, in the slot where it is, and returns its hash.
func rootOf(d *disk.Overlay, cmdline string) (string, error) {
	root, errA := Verify(d, RootA, cmdline)
	if errA == nil {
		return root, nil
	}
	root, errB := Verify(d, RootB, cmdline)
	if errB == nil {
		return root, nil
	}
	return "", fmt.Errorf("no slot has the root: a: %w; b: %w", errA, errB)
}

// checkFiles checks the boot files beside the kernel that was started.
func (s *System) checkFiles(d *disk.Overlay, kernel string) error {
	fat, err := disk.OpenFAT(d, disk.Partition{Number: 1, Start: ESP, Size: ESPSize})
	if err != nil {
		return err
	}
	for name, want := range s.Boot {
		file := path.Join(path.Dir(kernel), name)
		if name == "uki.efi" {
			file = kernel
		}
		got, err := fat.ReadFile(file)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s is not that of system %s", file, s.Name)
		}
	}
	return nil
}
