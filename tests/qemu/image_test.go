package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/reftool"
)

const (
	fatOffset = 16 << 20 // bytes
	fatSize   = 64 << 20
)

// testImage writes a disk with a partition table and a FAT partition that has these files. An
// MBR one has the FAT partition second, behind one of Linux; a GPT one has a BIOS boot partition
// when bios is set.
func testImage(t testing.TB, table string, bios bool, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 34*sector)
	if table == "mbr" {
		handmade.MBR(head, handmade.Part{Start: 1 << 20, Size: 1 << 20, Type: "0x83"}, handmade.Part{Start: fatOffset, Size: fatSize, Type: disk.TypeFAT32LBA})
	} else {
		handmade.MBR(head, handmade.Part{Start: sector, Size: fatOffset + fatSize, Type: "0xee"})
		le := binary.LittleEndian
		h := head[sector:]
		copy(h, "EFI PART")
		le.PutUint64(h[72:], 2)
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		e := head[2*sector:]
		if bios {
			copy(e, guidBIOSBoot)
			e = e[128:]
		}
		copy(e, guidESP)
		le.PutUint64(e[32:], fatOffset/sector)
		le.PutUint64(e[40:], (fatOffset+fatSize)/sector-1)
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(fatOffset + fatSize + 1<<20); err != nil {
		t.Fatal(err)
	}
	var list []fat.File
	for name, text := range files {
		list = append(list, fat.File{Path: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
	}
	volume := fat.Volume{Size: fatSize, Label: "TEST", ID: 1, Time: time.Unix(1700000000, 0)}
	if err := fat.Write(t.Context(), io.NewOffsetWriter(f, fatOffset), volume, list); err != nil {
		t.Fatal(err)
	}
	return path
}

func files(names ...string) map[string]string {
	m := map[string]string{}
	for _, n := range names {
		m[n] = "content of " + n
	}
	return m
}

func TestMachineFollowsTheImage(t *testing.T) {
	rpi := files("boot.scr", "config.txt", "bcm2837-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb")
	for _, tt := range []struct {
		name  string
		table string
		bios  bool
		files map[string]string
		want  Firmware // asked for
		p     Platform // zero: ErrFirmware
	}{
		{"a PC", "gpt", true, files("EFI/BOOT/BOOTX64.EFI"), "", Platform{amd64, FirmwareUEFI}},
		{"a PC by its BIOS", "gpt", true, files("EFI/BOOT/BOOTX64.EFI"), FirmwareBIOS, Platform{amd64, FirmwareBIOS}},
		{"a PC without a loader for its BIOS", "gpt", false, files("EFI/BOOT/BOOTX64.EFI"), FirmwareBIOS, Platform{}},
		{"arm64", "gpt", false, files("efi/boot/bootaa64.efi"), "", Platform{arm64, FirmwareUEFI}},
		{"arm64 has no BIOS", "gpt", true, files("EFI/BOOT/BOOTAA64.EFI"), FirmwareBIOS, Platform{}},
		{"a Rockchip board", "gpt", false, files("boot.scr"), "", Platform{arm64, FirmwareUBoot}},
		{"a Rockchip board is no Raspberry Pi", "gpt", false, files("boot.scr"), FirmwarePi3, Platform{}},
		{"a Raspberry Pi", "mbr", false, rpi, "", Platform{arm64, FirmwareUBoot}},
		{"a Raspberry Pi 3", "mbr", false, rpi, FirmwarePi3, Platform{arm64, FirmwarePi3}},
		{"a Raspberry Pi 5", "mbr", false, files("config.txt", "slot.txt"), "", Platform{}},
		{"a Raspberry Pi 5 by its kernel", "mbr", false, files("config.txt", "slot.txt"), FirmwareNone, Platform{arm64, FirmwareNone}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			facts, err := inspect(testImage(t, tt.table, tt.bios, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			p, err := facts.platform(tt.want)
			if p != tt.p || (err != nil) != (tt.p == Platform{}) || err != nil && !errors.Is(err, ErrFirmware) {
				t.Errorf("platform(%q) = %v, %v, want %v", tt.want, p, err, tt.p)
			}
		})
	}
}

func TestImagesThatNoMachineBootsAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.img")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	zeros := filepath.Join(t.TempDir(), "zeros.img")
	if err := os.WriteFile(zeros, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, zeros, testImage(t, "gpt", true, files("readme.txt")), testImage(t, "mbr", false, nil), testImage(t, "mbr", false, files("boot.scr/a-folder"))} {
		if f, err := inspect(path); err == nil || !strings.Contains(err.Error(), "keelson build") {
			t.Errorf("inspect(%s) = %+v, %v, want an error that says what was expected", filepath.Base(path), f, err)
		}
	}
	if _, err := imageFormat(t.TempDir()); err == nil {
		t.Error("imageFormat of a folder = nil, want an error")
	}
}

func TestWhatCannotBeReadIsNotTakenForMissing(t *testing.T) {
	path := testImage(t, "mbr", false, files("boot.scr"))
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	boot := make([]byte, sector)
	if _, err := f.ReadAt(boot, fatOffset); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	root := (int64(le.Uint16(boot[14:])) + int64(boot[16])*int64(le.Uint32(boot[36:]))) * sector // behind both tables
	if err := os.Truncate(path, fatOffset+root); err != nil {
		t.Fatal(err)
	}
	if facts, err := inspect(path); !errors.Is(err, io.EOF) {
		t.Errorf("inspect of an image that was cut off = %+v, %v, want EOF", facts, err)
	}
}

func TestFAT16IsRefused(t *testing.T) {
	const start = 1 << 20
	image := append(make([]byte, start), handmade.FAT(t, 16<<20, map[string][]byte{"boot.scr": []byte("x")})...)
	handmade.MBR(image, handmade.Part{Start: start, Size: 16 << 20, Type: disk.TypeFAT32LBA})
	if _, _, err := openBoot(bytes.NewReader(image)); err == nil || !strings.Contains(err.Error(), "expected FAT32") {
		t.Errorf("openBoot = %v, want an error that says what was expected", err)
	}
}

// FuzzInspect changes bytes of a small image's table, boot sector, FAT and root directory.
func FuzzInspect(f *testing.F) {
	image := testImage(f, "mbr", false, map[string]string{"boot.scr": "x", "slot-a/boot.env": "keelson_args=a\n"})
	whole, err := os.ReadFile(image)
	if err != nil {
		f.Fatal(err)
	}
	// Small: the partition right behind the table, and of it what holds something.
	const start, used = 64 * sector, 3 << 20
	binary.LittleEndian.PutUint32(whole[446+16+8:], start/sector)
	small := append(whole[:start:start], whole[fatOffset:fatOffset+used]...)
	f.Add(uint32(0), []byte{}, uint32(0))
	f.Add(uint32(446), []byte{0x80}, uint32(0))
	f.Add(uint32(start+11), []byte{0, 0, 0, 0, 0, 0xff, 0xff}, uint32(0))
	f.Add(uint32(start+44), []byte{0xff, 0xff, 0xff, 0xff}, uint32(used))
	f.Add(uint32(sector), []byte("EFI PART"), uint32(5000))
	f.Fuzz(func(t *testing.T, at uint32, change []byte, cut uint32) {
		data := bytes.Clone(small)
		copy(data[int(at)%len(data):], change)
		r := bytes.NewReader(data[:len(data)-int(cut)%len(data)])
		table, fat, err := openBoot(r)
		if err != nil {
			return
		}
		if facts, err := classify(table, fat); err == nil && len(facts.firmwares) == 0 {
			t.Error("an image that nothing boots was not refused")
		}
		if data, err := fat.ReadFile("boot.scr"); len(change) == 0 && cut == 0 && (err != nil || len(data) != 1) {
			t.Errorf("ReadFile = %d bytes, %v, of an image that was not changed", len(data), err)
		}
	})
}

func TestUnpackMakesTheRawDiskOfEveryFormat(t *testing.T) {
	zstd, qemuImg := reftool.Need(t, "zstd", "zstd"), reftool.Need(t, "qemu-img", "qemu-utils")
	raw := testImage(t, "gpt", true, files("EFI/BOOT/BOOTX64.EFI"))
	want, err := digest(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, make := range map[string][]string{
		"zst":   {zstd, "-q", raw, "-o"},
		"qcow2": {qemuImg, "convert", "-O", "qcow2", raw},
		"vmdk":  {qemuImg, "convert", "-O", "vmdk", raw},
		"vpc":   {qemuImg, "convert", "-O", "vpc", "-o", "force_size=on", raw},
		"vhdx":  {qemuImg, "convert", "-O", "vhdx", raw},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := filepath.Join(dir, "disk."+name), filepath.Join(dir, name+".raw")
			if out, err := exec.Command(make[0], append(make[1:], from)...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", make[0], err, out)
			}
			f, err := imageFormat(from)
			if err != nil || string(f) != name {
				t.Fatalf("imageFormat = %q, %v", f, err)
			}
			if err := unpack(t.Context(), from, f, dir, to); err != nil {
				t.Fatal(err)
			}
			if got, err := digest(t.Context(), to); err != nil || got != want {
				t.Errorf("the unpacked disk is not the one that was packed: %v", err)
			}
		})
	}
}

func TestUnpackOfADamagedFileLeavesNothing(t *testing.T) {
	zstd := reftool.Need(t, "zstd", "zstd")
	raw := testImage(t, "gpt", true, files("EFI/BOOT/BOOTX64.EFI"))
	dir := t.TempDir()
	packed := filepath.Join(dir, "disk.img.zst")
	if out, err := exec.Command(zstd, "-q", raw, "-o", packed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)-1] ^= 1 // of the checksum
	for name, content := range map[string][]byte{"cut off": data[:len(data)-3], "flipped": flipped} {
		if err := os.WriteFile(packed, content, 0o600); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, "raw")
		if err := unpack(t.Context(), packed, formatZstd, dir, to); err == nil {
			t.Errorf("%s: unpack = nil, want an error", name)
		}
		if left, _ := filepath.Glob(to + "*"); len(left) > 0 {
			t.Errorf("%s: unpack left %q", name, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := os.WriteFile(packed, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpack(ctx, packed, formatZstd, dir, filepath.Join(dir, "raw")); !errors.Is(err, context.Canceled) {
		t.Errorf("unpack with a context that is done = %v", err)
	}
}
