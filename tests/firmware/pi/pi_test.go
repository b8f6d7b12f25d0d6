package pi_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/firmware/pi"
)

const mib = handmade.MiB

func model(t testing.TB, name string) pi.Model {
	t.Helper()
	for _, m := range pi.Models {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no model %q", name)
	return pi.Model{}
}

// uboot stands for U-Boot: no kernel header, its version string.
var uboot = append(bytes.Repeat([]byte{1}, 4096), "U-Boot 2025.01+dfsg"...)

// files34 are those of a card for Pi 3 and 4 that starts U-Boot.
func files34() map[string][]byte {
	f := map[string][]byte{
		"bootcode.bin": []byte("code"), "start.elf": []byte("\x7fELF3"), "fixup.dat": []byte("x"),
		"start4.elf": []byte("\x7fELF4"), "fixup4.dat": []byte("x"), "u-boot.bin": uboot,
		"config.txt": []byte("# comment\narm_64bit=1\nupstream_kernel=1\nkernel=u-boot.bin\n"),
	}
	for _, m := range pi.Models {
		if m.Gen != pi.Gen5 {
			f[m.Upstream[0]] = handmade.Board(m.Upstream[0])
		}
	}
	return f
}

// files5 are those of a card for a Pi 5 with two slots.
func files5() map[string][]byte {
	slot := append([]byte("os_prefix=slot-a/\n"), bytes.Repeat([]byte("\n"), 512-18)...)
	return map[string][]byte{
		"config.txt": []byte("arm_64bit=1\nupstream_kernel=1\nkernel=linux\ninitramfs initrd.img followkernel\ninclude slot.txt\n"),
		"slot.txt":   slot, "slot-a/linux": handmade.Kernel(8192, 1*mib), "slot-a/initrd.img": []byte("initrd"),
		"slot-a/cmdline.txt": []byte("console=ttyAMA10 quiet\n"), "slot-a/bcm2712-rpi-5-b.dtb": handmade.Board("raspberrypi,5-model-b"),
	}
}

// changed is files with those of change in their place; one of nil content is taken away.
func changed(files, change map[string][]byte) map[string][]byte {
	for name, data := range change {
		if data == nil {
			delete(files, name)
		} else {
			files[name] = data
		}
	}
	return files
}

func card(t testing.TB, kind string, files map[string][]byte) []byte {
	b := make([]byte, 64*mib)
	handmade.MBR(b, handmade.Part{Start: 1 * mib, Size: 40 * mib, Type: kind}, handmade.Part{Start: 41 * mib, Size: mib, Type: "0x83"})
	copy(b[1*mib:], handmade.FAT(t, 40*mib, files))
	return b
}

func check(t testing.TB, b []byte, m pi.Model) firmware.Report {
	t.Helper()
	r, err := pi.Check(bytes.NewReader(b), int64(len(b)), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoodCardStartsUBootOnEveryPi3AndPi4(t *testing.T) {
	b := card(t, "0x0c", files34())
	for _, m := range pi.Models {
		if m.Gen == pi.Gen5 {
			continue
		}
		r := check(t, b, m)
		handmade.WantFault(t, r, "")
		if r.Kernel != "u-boot.bin" || r.DeviceTree != m.Upstream[0] {
			t.Errorf("kernel %q, device tree %q:\n%s", r.Kernel, r.DeviceTree, r)
		}
		first := map[pi.Generation]string{pi.Gen3: "bootcode.bin", pi.Gen4: "start4.elf"}[m.Gen]
		if r.Loads[0].File != first {
			t.Errorf("first load %+v, want %s", r.Loads[0], first)
		}
	}
}

func TestOneBrokenDetailOfACardForPi3AndPi4IsOneFault(t *testing.T) {
	for _, c := range []struct {
		name, model string
		kind        string
		change      map[string][]byte // nil content: without the file
		want        string
	}{
		{"ESP type", "Raspberry Pi 3B", "0xef", nil, "no partition of type 0x0b or 0x0c"},
		{"no bootcode.bin", "Raspberry Pi Zero 2 W", "", map[string][]byte{"bootcode.bin": nil}, "bootcode.bin"},
		{"no start.elf", "Raspberry Pi 3B+", "", map[string][]byte{"start.elf": nil}, "start.elf"},
		{"start4.elf is no ELF file", "Raspberry Pi 4B", "", map[string][]byte{"start4.elf": []byte("<html>")}, "start4.elf is empty or no ELF file"},
		{"no fixup4.dat", "Compute Module 4", "", map[string][]byte{"fixup4.dat": nil}, "fixup4.dat"},
		{"no device tree", "Raspberry Pi 400", "", map[string][]byte{"bcm2711-rpi-400.dtb": nil, "bcm2711-rpi-4-b.dtb": nil}, "no device tree: Raspberry Pi 400"},
		{"device tree cut short", "Raspberry Pi 4B", "", map[string][]byte{"bcm2711-rpi-4-b.dtb": handmade.Board("x")[:60]}, "totalsize"},
		{"kernel is neither", "Raspberry Pi 4B", "", map[string][]byte{"u-boot.bin": []byte("GRUB")}, "no U-Boot"},
		{"no kernel", "Raspberry Pi 4B", "", map[string][]byte{"u-boot.bin": nil}, "u-boot.bin"},
		{"32 bit", "Raspberry Pi 3B", "", map[string][]byte{"config.txt": []byte("upstream_kernel=1\nkernel=u-boot.bin\n")}, "arm_64bit is not 1"},
		{"downstream names", "Raspberry Pi 3B", "", map[string][]byte{"config.txt": []byte("arm_64bit=1\nkernel=u-boot.bin\n")}, "bcm2710-rpi-3-b.dtb"},
		{"long line", "Raspberry Pi 4B", "", map[string][]byte{"config.txt": append(files34()["config.txt"], "x="+strings.Repeat("1", 97)...)}, "99 characters"},
		{"blank before a value", "Raspberry Pi 4B", "", map[string][]byte{"config.txt": append(files34()["config.txt"], "enable_uart= 1\n"...)}, "blanks"},
		{"unknown filter", "Raspberry Pi 4B", "", map[string][]byte{"config.txt": append(files34()["config.txt"], "[pi6]\nenable_uart=1\n"...)}, "does not know the filter [pi6]"},
		{"no config.txt", "Raspberry Pi 4B", "", map[string][]byte{"config.txt": nil, "kernel8.img": uboot}, "config.txt: is not on the FAT partition"},
		{"gpu_mem in an include", "Raspberry Pi 3B", "", map[string][]byte{"config.txt": append(files34()["config.txt"], "include more.txt\n"...), "more.txt": []byte("gpu_mem=16\n")}, "must be in config.txt"},
		{"gpu_mem=16 takes other files", "Raspberry Pi 4B", "", map[string][]byte{"config.txt": append(files34()["config.txt"], "gpu_mem=16\n"...), "start4cd.elf": []byte("\x7fELF")}, "fixup4cd.dat"},
		{"autoboot.txt", "Raspberry Pi 4B", "", map[string][]byte{"autoboot.txt": []byte("[all]\n")}, "autoboot.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := changed(files34(), c.change)
			kind := c.kind
			if kind == "" {
				kind = "0x0c"
			}
			handmade.WantFault(t, check(t, card(t, kind, files), model(t, c.model)), c.want)
		})
	}
}

func TestGoodCardStartsTheSlotOnPi5(t *testing.T) {
	r := check(t, card(t, "0x0c", files5()), model(t, "Raspberry Pi 5"))
	handmade.WantFault(t, r, "")
	if r.Slot != "a" || r.Kernel != "slot-a/linux" || r.Initrd != "slot-a/initrd.img" || r.DeviceTree != "slot-a/bcm2712-rpi-5-b.dtb" || r.Cmdline != "console=ttyAMA10 quiet" {
		t.Errorf("%s", r)
	}
	if len(r.Notes) == 0 {
		t.Error("that include is not documented for the Pi 5 is not noted")
	}
}

func TestOneBrokenDetailOfACardForPi5IsOneFault(t *testing.T) {
	config := string(files5()["config.txt"])
	for _, c := range []struct {
		name   string
		change map[string][]byte
		want   string
	}{
		{"slot.txt of 511 bytes", map[string][]byte{"slot.txt": files5()["slot.txt"][:511]}, "511 bytes"},
		{"slot.txt with more", map[string][]byte{"slot.txt": append([]byte("os_prefix=slot-a/\nenable_uart=1\n"), bytes.Repeat([]byte("\n"), 512-32)...)}, "enable_uart"},
		{"slot padded with blanks", map[string][]byte{"slot.txt": append([]byte("os_prefix=slot-a/"), bytes.Repeat([]byte(" "), 495)...)}, "512 characters"},
		{"kernel wants too much memory", map[string][]byte{"slot-a/linux": handmade.Kernel(8192, 760*mib)}, "overlaps"},
		{"kernel is compressed", map[string][]byte{"slot-a/linux": []byte("\x1f\x8b kernel")}, "no arm64 kernel image"},
		{"no initramfs file", map[string][]byte{"slot-a/initrd.img": nil}, "initrd.img"},
		{"no command line", map[string][]byte{"slot-a/cmdline.txt": nil}, "command line"},
		{"command line of two lines", map[string][]byte{"slot-a/cmdline.txt": []byte("a\nb\n")}, "more than one line"},
		{"long command line", map[string][]byte{"slot-a/cmdline.txt": bytes.Repeat([]byte("x"), 1700)}, "1700 characters"},
		{"kernel of the other slot", map[string][]byte{"config.txt": []byte(strings.Replace(config, "kernel=linux", "kernel=/slot-b/linux", 1)), "slot-b/linux": handmade.Kernel(8192, mib)}, "slot-a/"},
		{"initramfs elsewhere", map[string][]byte{"config.txt": []byte(strings.Replace(config, "followkernel", "0x00800000", 1))}, "want followkernel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := changed(files5(), c.change)
			r := check(t, card(t, "0x0c", files), model(t, "Raspberry Pi 5"))
			found := false
			for _, f := range r.Faults {
				found = found || strings.Contains(f, c.want)
			}
			if !found {
				t.Errorf("want a fault with %q in it:\n%s", c.want, r)
			}
		})
	}
}

func TestPrefixWithoutItsDeviceTreeIsIgnored(t *testing.T) {
	files := files5()
	delete(files, "slot-a/bcm2712-rpi-5-b.dtb")
	r := check(t, card(t, "0x0c", files), model(t, "Raspberry Pi 5"))
	if r.Kernel != "linux" || len(r.Faults) == 0 || !strings.Contains(r.Faults[0], "os_prefix=slot-a/ is ignored") {
		t.Errorf("the prefix was not ignored:\n%s", r)
	}
}

// TestFilters reads one config.txt as every model: which kernel= counts last.
func TestFilters(t *testing.T) {
	config := `arm_64bit=1
upstream_kernel=1
kernel=all.bin
[pi02]
kernel=zero2.bin
[pi3]
kernel=pi3.bin
[pi3+]
kernel=pi3plus.bin
[pi4]
kernel=pi4.bin
[pi400]
kernel=pi400.bin
[cm4]
kernel=cm4.bin
[none]
kernel=none.bin
[all]
[tryboot]
kernel=tryboot.bin
[pi4]
kernel=tryboot4.bin
[all]
[board-type=0x0e]
kernel=3a.bin
`
	want := map[string]string{
		"Raspberry Pi 3B": "pi3.bin", "Raspberry Pi 3B+": "pi3plus.bin", "Raspberry Pi 3A+": "3a.bin", "Raspberry Pi Zero 2 W": "zero2.bin",
		"Raspberry Pi 4B": "pi4.bin", "Raspberry Pi 400": "pi400.bin", "Compute Module 4": "cm4.bin",
	}
	files := files34()
	for k := range maps.Values(want) {
		files[k] = uboot
	}
	files["config.txt"] = []byte(config)
	b := card(t, "0x0c", files)
	for name, kernel := range want {
		if r := check(t, b, model(t, name)); r.Kernel != kernel || len(r.Faults) > 0 {
			t.Errorf("%s starts %q, want %q:\n%s", name, r.Kernel, kernel, r)
		}
	}
}
