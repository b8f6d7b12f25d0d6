package imagebuilder

import (
	"fmt"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/uki"
)

// Files of a system for UEFI.
const (
	stubFile   = "stub.efi"
	loaderFile = "systemd-boot.efi"
)

// loaderPackage has the boot loader and the UKI's stub.
const loaderPackage = "systemd-boot-efi"

// efiNames are the names of systemd's EFI programs in its package, and of the boot loader
// where firmware looks for it on a disk without boot entries. Source: UEFI 2.10, 3.5.1.1.
var efiNames = map[string]struct{ stub, loader, fallback string }{
	"amd64": {"linuxx64.efi.stub", "systemd-bootx64.efi", "BOOTX64.EFI"},
	"arm64": {"linuxaa64.efi.stub", "systemd-bootaa64.efi", "BOOTAA64.EFI"},
}

// copyEFI copies the boot loader and the stub to the system.
func (b *builder) copyEFI(s *system, set *pkgs.Set) error {
	names, ok := efiNames[b.board.Arch]
	if !ok {
		return fmt.Errorf("board %s: no boot loader for architecture %s", b.board.Name, b.board.Arch)
	}
	for to, from := range map[string]string{stubFile: names.stub, loaderFile: names.loader} {
		file, err := set.File(loaderPackage, "usr/lib/systemd/boot/efi/"+from)
		if err != nil {
			return err
		}
		if err := copyTo(file, s.path(to)); err != nil {
			return err
		}
	}
	return nil
}

// efiFiles puts systemd-boot and the slot's UKI on the ESP.
func (b *builder) efiFiles(img *image) error {
	data, err := b.makeUKI(img)
	if err != nil {
		return err
	}
	img.parts = append(img.parts, img.sys.part("boot loader", loaderFile))
	img.note("UKI", data)
	img.esp = append(img.esp,
		img.sys.file("EFI/BOOT/"+efiNames[b.board.Arch].fallback, loaderFile),
		dataFile("loader/loader.conf", []byte("timeout 0\neditor no\n")))
	img.slot = append(img.slot, dataFile(ukiPath, data))
	return nil
}

// ukiPath is the UKI of slot a of a new disk: the first generation, and without a counter, so it counts as good.
// systemd-boot and package upgrade/bootcontrol take the highest generation that is not bad for the next to boot.
const ukiPath = "EFI/Linux/keelson_1_a.efi"

// ukiRelease is the UKI's section .osrel. It is the same for all versions, for systemd-boot would sort entries by a version
// here before it looks at their names, and a version that is called off could win over the one that is good.
// Source: sd-boot(7), "Entry sorting".
const ukiRelease = "ID=keelson\nNAME=\"Keelson\"\nPRETTY_NAME=\"Keelson\"\n"

func (b *builder) makeUKI(img *image) ([]byte, error) {
	p := uki.Parts{Cmdline: img.cmdline, Uname: img.sys.info.KernelVersion, OSRelease: []byte(ukiRelease)}
	for name, to := range map[string]*[]byte{stubFile: &p.Stub, initrdFile: &p.Initrd, kernelFile: &p.Linux} {
		data, err := img.sys.read(name)
		if err != nil {
			return nil, err
		}
		*to = data
	}
	if err := b.biosFiles(img, &p); err != nil {
		return nil, err
	}
	return uki.Build(p)
}
