package smallsystem

import (
	"encoding/binary"
	"fmt"

	"github.com/keelson-os/keelson/imagebuilder/grub"
	"github.com/keelson-os/keelson/imagebuilder/uki"
	"github.com/keelson-os/keelson/imagebuilder/verity"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

const (
	amd64 = 0x8664
	arm64 = 0xaa64
)

// boot makes the boot files, by their names in a bundle.
func (s *System) boot(c Chain) (map[string][]byte, error) {
	cmdline := string(s.Boot[""])
	initrd := noise("initrd "+s.Name, 90_000)
	switch c {
	case UEFI, UEFIGRUB:
		image, err := s.uki(c, cmdline, initrd)
		return map[string][]byte{"uki.efi": image}, err
	case UBoot:
		return map[string][]byte{
			"linux": s.kernel(), "initrd.img": initrd, "boot.env": []byte("keelson_args=" + cmdline + "\n"),
			"dtb/rockchip/rk3328-rock64.dtb": handmade.Board("pine64,rock64"),
		}, nil
	case Pi:
		return map[string][]byte{
			"linux": s.kernel(), "initrd.img": initrd, "cmdline.txt": []byte(cmdline + "\n"),
			"bcm2712-rpi-5-b.dtb": handmade.Board("raspberrypi,5-model-b"), "bcm2712-d-rpi-5-b.dtb": handmade.Board("raspberrypi,5-model-b"),
		}, nil
	}
	return nil, fmt.Errorf("boot chain %q", c)
}

// kernel is an arm64 kernel: most of it is the same in all systems.
func (s *System) kernel() []byte {
	k := handmade.Kernel(150_000, 8*mib)
	copy(k[len(k)-5000:], noise("kernel "+s.Name, 5000))
	return k
}

func (s *System) uki(c Chain, cmdline string, initrd []byte) ([]byte, error) {
	p := uki.Parts{
		// No version: systemd-boot must sort by file names.
		OSRelease: []byte("ID=keelson\nNAME=Keelson\nPRETTY_NAME=Keelson\nBUILD_ID=1\n"),
		Cmdline:   cmdline, Uname: "6.12.0", Initrd: initrd,
	}
	text := noise("kernel "+s.Name, 50_000)
	if c == UEFI {
		p.Stub, p.Linux = program(arm64, "stub"), program(arm64, string(text))
		// Sections are filled up to whole blocks, which a kernel's image_size has room for.
		binary.LittleEndian.PutUint64(p.Linux[16:], uint64(len(p.Linux)+4096))
		clear(p.Linux[24:32])
		copy(p.Linux[56:], "ARM\x64")
		return uki.Build(p)
	}
	p.Stub, p.Linux = program(amd64, "stub"), program(amd64, string(text))
	copy(p.Linux[0x202:], "HdrS\x0f\x02")
	var data int64
	if _, err := fmt.Sscanf(cmdline[len("roothash=")+65:], "keelson.verity=%d:", &data); err != nil {
		return nil, err
	}
	// The highest level of the tree comes first, right behind the superblock.
	top := (data + 1) * verity.BlockSize
	i := grub.Image{Cmdline: cmdline, Top: s.Root[top:][:grub.TopSize], TopAt: top}
	p.Fixed = &uki.Fixed{Name: grub.SectionName, At: grub.SectionAt, Size: grub.SectionSize, Content: func(initrd, linux uki.Extent) ([]byte, error) {
		i.Initrd, i.Linux = grub.Extent(initrd), grub.Extent(linux)
		return grub.Section(i)
	}}
	return uki.Build(p)
}

// program is a PE file: a 64-bit EFI application with one section, and room for more (Microsoft PE format).
func program(machine uint16, text string) []byte {
	le := binary.LittleEndian
	const peAt, optSize, align = 0x80, 112 + 16*8, 0x1000
	head := make([]byte, 0x400)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], peAt)
	copy(head[peAt:], "PE\x00\x00")
	coff := head[peAt+4:]
	le.PutUint16(coff, machine)
	le.PutUint16(coff[2:], 1)
	le.PutUint16(coff[16:], optSize)
	le.PutUint16(coff[18:], 0x206)
	opt := coff[20:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[32:], align)
	le.PutUint32(opt[36:], 512)
	le.PutUint32(opt[56:], align+uint32(len(text)+align-1)&^(align-1))
	le.PutUint32(opt[60:], uint32(len(head)))
	le.PutUint16(opt[68:], 10)
	le.PutUint32(opt[108:], 16)
	e := opt[optSize:]
	raw := (len(text) + 511) &^ 511
	copy(e, ".text")
	le.PutUint32(e[8:], uint32(len(text)))
	le.PutUint32(e[12:], align)
	le.PutUint32(e[16:], uint32(raw))
	le.PutUint32(e[20:], uint32(len(head)))
	le.PutUint32(e[36:], 0x60000020)
	out := make([]byte, len(head)+raw)
	copy(out, head)
	copy(out[len(head):], text)
	return out
}
