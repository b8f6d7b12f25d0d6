package uefi_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/firmware/uefi"
)

const mib = handmade.MiB

type section struct {
	name string
	data []byte
}

// program is a PE file of the format's specification: a 64-bit EFI application with these sections.
func program(machine uint16, sections ...section) []byte {
	le := binary.LittleEndian
	const peAt, optSize, align = 0x80, 112 + 16*8, 0x1000
	head := make([]byte, 0x400)
	copy(head, "MZ")
	le.PutUint32(head[0x3c:], peAt)
	copy(head[peAt:], "PE\x00\x00")
	coff := head[peAt+4:]
	le.PutUint16(coff, machine)
	le.PutUint16(coff[2:], uint16(len(sections)))
	le.PutUint16(coff[16:], optSize)
	opt := coff[20:]
	le.PutUint16(opt, 0x20b)
	le.PutUint16(opt[68:], 10)
	le.PutUint32(opt[108:], 16)
	table := opt[optSize:]
	body, va := []byte{}, uint32(align)
	for i, s := range sections {
		e := table[40*i:]
		copy(e[:8], s.name)
		le.PutUint32(e[8:], uint32(len(s.data)))
		le.PutUint32(e[12:], va)
		data := append(bytes.Clone(s.data), make([]byte, (512-len(s.data)%512)%512)...)
		le.PutUint32(e[16:], uint32(len(data)))
		le.PutUint32(e[20:], uint32(len(head)+len(body)))
		body = append(body, data...)
		va += uint32(len(s.data)+align-1) &^ (align - 1)
	}
	le.PutUint32(opt[56:], va)
	return append(head, body...)
}

const amd64, arm64 = 0x8664, 0xaa64

func loader(machine uint16) []byte {
	return program(machine, section{".text", []byte("code")}, section{".sdmagic", []byte("#### LoaderInfo: systemd-boot 257 ####")})
}

// x86Kernel is a PE file that is also an x86 kernel.
func x86Kernel() []byte {
	k := program(amd64, section{".text", make([]byte, 4096)})
	copy(k[0x202:], "HdrS\x0f\x02")
	return k
}

// armKernel is a PE file that is also an arm64 kernel.
func armKernel() []byte {
	k := program(arm64, section{".text", make([]byte, 4096)})
	binary.LittleEndian.PutUint64(k[16:], uint64(len(k)))
	clear(k[24:32])
	copy(k[56:], "ARM\x64")
	return k
}

func unified(machine uint16, kernel []byte, change map[string][]byte) []byte {
	var s []section
	for _, d := range []section{
		{".osrel", []byte("NAME=Keelson\nVERSION_ID=1\n")}, {".cmdline", []byte("quiet roothash=x")}, {".linux", kernel}, {".initrd", []byte("initrd")},
	} {
		if c, ok := change[d.name]; ok {
			if c == nil {
				continue
			}
			d.data = c
		}
		s = append(s, d)
	}
	return program(machine, s...)
}

func image(t *testing.T, kind string, files map[string][]byte) []byte {
	b := make([]byte, 60*mib)
	handmade.GPT(b, 128, handmade.Part{Start: 16 * mib, Size: 40 * mib, Type: kind, Name: "esp"})
	copy(b[16*mib:], handmade.FAT(t, 40*mib, files))
	return b
}

func TestOneBrokenDetailIsOneFault(t *testing.T) {
	good := func() map[string][]byte {
		return map[string][]byte{"EFI/BOOT/BOOTX64.EFI": loader(amd64), "EFI/Linux/keelson_1.efi": unified(amd64, x86Kernel(), nil)}
	}
	with := func(name string, data []byte) map[string][]byte {
		f := good()
		if f[name] = data; data == nil {
			delete(f, name)
		}
		return f
	}
	for _, c := range []struct {
		name  string
		kind  string
		files map[string][]byte
		want  string
	}{
		{name: "good", files: good()},
		{name: "no ESP", kind: "0fc63daf-8483-4772-8e79-3d69d8477de4", files: good(), want: "no EFI system partition"},
		{name: "no loader", files: with("EFI/BOOT/BOOTX64.EFI", nil), want: "BOOTX64.EFI"},
		{name: "loader of another machine", files: with("EFI/BOOT/BOOTX64.EFI", loader(arm64)), want: "PE machine 0xaa64"},
		{name: "another loader", files: with("EFI/BOOT/BOOTX64.EFI", program(amd64, section{".text", []byte("x")})), want: "is not systemd-boot"},
		{name: "no UKI", files: with("EFI/Linux/keelson_1.efi", nil), want: "EFI/Linux"},
		{name: "UKI of another machine", files: with("EFI/Linux/keelson_1.efi", unified(arm64, x86Kernel(), nil)), want: "PE machine 0xaa64"},
		{name: "no command line", files: with("EFI/Linux/keelson_1.efi", unified(amd64, x86Kernel(), map[string][]byte{".cmdline": nil})), want: "has no section .cmdline"},
		{name: "no initrd", files: with("EFI/Linux/keelson_1.efi", unified(amd64, x86Kernel(), map[string][]byte{".initrd": nil})), want: "has no section .initrd"},
		{name: "no kernel", files: with("EFI/Linux/keelson_1.efi", unified(amd64, []byte("x"), nil)), want: "section .linux"},
		{name: "no x86 kernel", files: with("EFI/Linux/keelson_1.efi", unified(amd64, program(amd64, section{".text", make([]byte, 4096)}), nil)), want: "HdrS"},
		{name: "no name", files: with("EFI/Linux/keelson_1.efi", unified(amd64, x86Kernel(), map[string][]byte{".osrel": []byte("VERSION_ID=1\n")})), want: "no name"},
		{name: "cut short", files: with("EFI/Linux/keelson_1.efi", unified(amd64, x86Kernel(), nil)[:2048]), want: "PE section"},
		{name: "counter", files: with("EFI/Linux/keelson_2+x.efi", unified(amd64, x86Kernel(), nil)), want: "boot counter"},
		{name: "entries of type 1", files: with("loader/entries/x.conf", []byte("title x")), want: "type 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.kind == "" {
				c.kind = disk.TypeESP
			}
			b := image(t, c.kind, c.files)
			r, err := uefi.Check(bytes.NewReader(b), int64(len(b)), uefi.AMD64)
			if err != nil {
				t.Fatal(err)
			}
			handmade.WantFault(t, r, c.want)
			if c.want == "" && (r.Kernel != "EFI/Linux/keelson_1.efi" || r.Initrd == "" || r.Cmdline != "quiet roothash=x") {
				t.Errorf("%s", r)
			}
		})
	}
}

func TestArm64(t *testing.T) {
	b := image(t, disk.TypeESP, map[string][]byte{"EFI/BOOT/BOOTAA64.EFI": loader(arm64), "EFI/Linux/k+3.efi": unified(arm64, armKernel(), nil)})
	r, err := uefi.Check(bytes.NewReader(b), int64(len(b)), uefi.ARM64)
	if err != nil {
		t.Fatal(err)
	}
	handmade.WantFault(t, r, "")
}

// The newest entry comes first, one without tries left last.
func TestEntryOrder(t *testing.T) {
	entry := func(version string) []byte {
		return unified(amd64, x86Kernel(), map[string][]byte{".osrel": []byte("NAME=x\nVERSION_ID=" + version + "\n")})
	}
	for _, c := range []struct{ name, newer, want string }{
		{"tries left", "k_2+3.efi", "k_2+3.efi"}, {"some done", "k_2+1-2.efi", "k_2+1-2.efi"}, {"good", "k_2.efi", "k_2.efi"}, {"none left", "k_2+0-3.efi", "k_1.efi"},
	} {
		b := image(t, disk.TypeESP, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": loader(amd64), "EFI/Linux/k_1.efi": entry("1"), "EFI/Linux/" + c.newer: entry("2")})
		r, err := uefi.Check(bytes.NewReader(b), int64(len(b)), uefi.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kernel != "EFI/Linux/"+c.want || len(r.Faults) > 0 {
			t.Errorf("%s: starts %s, want %s:\n%s", c.name, r.Kernel, c.want, r)
		}
	}
}

// Three tries of the newer entry, then the older one for good.
func TestStartCountsTries(t *testing.T) {
	entry := unified(amd64, x86Kernel(), map[string][]byte{".osrel": []byte("NAME=x\n")})
	b := image(t, disk.TypeESP, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": loader(amd64), "EFI/Linux/keelson_9_a.efi": entry, "EFI/Linux/keelson_10_b+3.efi": entry, "EFI/Linux/keelson_b.new": []byte("x")})
	o := disk.NewOverlay(bytes.NewReader(b))
	for i, want := range []string{"keelson_10_b+2-1.efi", "keelson_10_b+1-2.efi", "keelson_10_b+0-3.efi", "keelson_9_a.efi", "keelson_9_a.efi"} {
		r, err := uefi.Start(o, int64(len(b)), uefi.AMD64)
		if err != nil || len(r.Faults) > 0 || r.Kernel != "EFI/Linux/"+want || r.Initrd != r.Kernel {
			t.Errorf("boot %d: %v, want %s:\n%s", i+1, err, want, r)
		}
	}
}
