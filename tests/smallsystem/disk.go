package smallsystem

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/imagebuilder/uboot"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

// Where a disk's partitions are, in bytes.
const (
	Size      = 61 * mib
	BootState = 15 * mib
	ESP       = 16 * mib
	ESPSize   = 34 * mib // the smallest FAT32
	RootA     = 50 * mib
	RootB     = 54 * mib
	RootSize  = 4 * mib
	State     = 58 * mib
)

// Disk returns a new disk with the system in slot a, which is committed; slot b is empty.
func Disk(t testing.TB, c Chain, s *System) []byte {
	t.Helper()
	b, err := makeDisk(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeDisk(c Chain, s *System) ([]byte, error) {
	b := make([]byte, Size)
	const linux = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	if c == Pi {
		copy(b[440:], "\x11\x22\x33\x44")
		handmade.MBR(b,
			handmade.Part{Start: ESP, Size: ESPSize, Type: disk.TypeFAT32LBA}, handmade.Part{Start: RootA, Size: RootSize, Type: "0x83"},
			handmade.Part{Start: RootB, Size: RootSize, Type: "0x83"}, handmade.Part{Start: State, Size: mib, Type: "0xda"})
	} else {
		parts := []handmade.Part{
			{Start: ESP, Size: ESPSize, Type: disk.TypeESP, Name: "esp"}, {Start: BootState, Size: mib, Type: linux, Name: "bootstate"},
			{Start: RootA, Size: RootSize, Type: linux, Name: "root-a"}, {Start: RootB, Size: RootSize, Type: linux, Name: "root-b"},
			{Start: State, Size: mib, Type: linux, Name: "state"},
		}
		if c == UEFIGRUB {
			parts = append(parts, handmade.Part{Start: mib, Size: mib, Type: disk.TypeBIOSBoot, Name: "bios"})
		}
		handmade.GPT(b, 128, parts...)
	}
	copy(b[RootA:], s.Root)
	files := map[string][]byte{}
	switch c {
	case UEFI, UEFIGRUB:
		name, machine := "BOOTX64.EFI", uint16(amd64)
		if c == UEFI {
			name, machine = "BOOTAA64.EFI", arm64
		}
		files["EFI/BOOT/"+name] = program(machine, "#### LoaderInfo: systemd-boot 257 ####")
		files["loader/loader.conf"] = []byte("timeout 0\neditor no\n")
		files["EFI/Linux/keelson_1_a.efi"] = s.Boot["uki.efi"]
	case UBoot:
		script, err := uboot.Script(&boards.UBoot{Kernel: 0x2200000, FDT: 0x5e00000, Scratch: 0x5f00000, Initrd: 0x6000000, DeviceTree: "file"}, Time)
		if err != nil {
			return nil, err
		}
		files["boot.scr"] = script
	case Pi:
		// boards/rpi5/boot/config.txt, without comments.
		files["config.txt"] = []byte("upstream_kernel=1\nkernel=linux\ninitramfs initrd.img followkernel\nos_check=0\nos_prefix=slot-a/\ninclude slot.txt\n")
		files["slot.txt"] = []byte("os_prefix=slot-a/\n" + strings.Repeat(strings.Repeat("#", 60)+"\n", 8) + "#####\n")
	}
	if c == UBoot || c == Pi {
		for name, data := range s.Boot {
			files[path.Join("slot-a", name)] = data
		}
	}
	copy(b[BootState:], bootState(c))
	return b, writeFAT(b[ESP:][:ESPSize], files)
}

// bootState is the content of the bootstate area: slot a is committed. Made from the documentation of packages imagebuilder/uboot and grub.
func bootState(c Chain) []byte {
	switch c {
	case UBoot:
		block := make([]byte, 4096)
		copy(block[4:], "ab_default=a\x00ab_gen=1\x00")
		binary.LittleEndian.PutUint32(block, crc32.ChecksumIEEE(block[4:]))
		out := make([]byte, 3*4096)
		copy(out, block)
		copy(out[2*4096:], block)
		return out
	case UEFIGRUB:
		block := func(vars string) []byte {
			text := "# GRUB Environment Block\n" + vars
			return []byte(text + strings.Repeat("#", 512-len(text)))
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		err := w.WriteHeader(&tar.Header{Name: "trial", Mode: 0o644, Size: 512, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(block(""))
		}
		if err := errors.Join(err, w.Close()); err != nil {
			panic("BUG: a tar archive in memory: " + err.Error())
		}
		out := make([]byte, 41*512)
		copy(out, b.Bytes()[:4*512])
		copy(out[32*512:], block("ab_default=a\nab_gen=1\n"))
		copy(out[40*512:], block("ab_default=a\nab_gen=1\n"))
		return out
	}
	return nil
}

func writeFAT(part []byte, files map[string][]byte) error {
	list := []fat.File{}
	for name, data := range files {
		list = append(list, fat.File{Path: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	v := fat.Volume{Size: int64(len(part)), Label: "KEELSON", ID: 9, Time: Time, Hidden: ESP / 512}
	return fat.Write(context.Background(), memory(part), v, list)
}

// memory is an io.WriterAt.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("write of %d bytes at %d of %d", len(p), off, len(m))
	}
	return copy(m[off:], p), nil
}
