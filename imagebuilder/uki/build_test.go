package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

// fakePE returns a small PE32+ file for EFI on x86-64 with one section, .text, and a
// header with room for more.
func fakePE(memory uint32) []byte {
	b := make([]byte, 0x600)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	coff := b[0x84:]
	le.PutUint16(coff, 0x8664)
	le.PutUint16(coff[2:], 1)
	le.PutUint16(coff[16:], 240)
	le.PutUint16(coff[18:], 0x206)
	opt := b[0x84+coffHeaderSize:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[4:], 0x200)
	le.PutUint32(opt[16:], 0x1000)
	le.PutUint32(opt[20:], 0x1000)
	le.PutUint32(opt[sectionAlignmentAt:], 0x1000)
	le.PutUint32(opt[fileAlignmentAt:], 0x200)
	le.PutUint32(opt[sizeOfImageAt:], memory)
	le.PutUint32(opt[sizeOfHeadersAt:], 0x400)
	le.PutUint16(opt[68:], 10)
	le.PutUint32(opt[directoryCountAt:], 16)
	section{".text", 0x1000, 0x180, 0x400, 0x200, 0x60000020}.put(b[0x84+coffHeaderSize+240:])
	return b
}

func testParts() Parts {
	return Parts{
		Stub:      fakePE(0x2000),
		OSRelease: []byte("ID=keelson\n"),
		Cmdline:   "roothash=00 quiet",
		Uname:     "6.12.0",
		Initrd:    bytes.Repeat([]byte("initrd!"), 5000),
		Linux:     fakePE(0x9000),
	}
}

func TestBuildIsReadBackByDebugPE(t *testing.T) {
	p := testParts()
	out, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{
		".osrel": p.OSRelease, ".cmdline": []byte(p.Cmdline), ".uname": []byte(p.Uname), ".initrd": p.Initrd, ".linux": p.Linux,
	}
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	var end uint32
	for i, s := range f.Sections {
		if s.VirtualAddress < end {
			t.Errorf("section %s at %#x overlaps the one before it, which ends at %#x", s.Name, s.VirtualAddress, end)
		}
		end = s.VirtualAddress + s.VirtualSize
		if s.VirtualAddress%opt.SectionAlignment != 0 {
			t.Errorf("section %s at %#x is not aligned", s.Name, s.VirtualAddress)
		}
		if i == 0 {
			continue // the stub's
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		w, ok := want[s.Name]
		if !ok {
			t.Errorf("unexpected section %s", s.Name)
		} else if !bytes.Equal(data[:len(w)], w) || len(bytes.Trim(data[len(w):], "\x00")) != 0 {
			t.Errorf("section %s: other content than given", s.Name)
		}
		if s.Name == ".linux" && s.VirtualSize != 0x9000 {
			t.Errorf(".linux: VirtualSize %#x, want the kernel's SizeOfImage 0x9000", s.VirtualSize)
		}
		delete(want, s.Name)
	}
	if len(want) != 0 {
		t.Errorf("missing sections: %v", want)
	}
	if opt.SizeOfImage < end || opt.SizeOfImage%opt.SectionAlignment != 0 {
		t.Errorf("SizeOfImage %#x, last section ends at %#x", opt.SizeOfImage, end)
	}
	// Our own parser takes what it wrote.
	if _, err := parse(out); err != nil {
		t.Error(err)
	}
	again, err := Build(p)
	if err != nil || !bytes.Equal(out, again) {
		t.Errorf("second Build differs (err %v)", err)
	}
}

func TestBuildIsAcceptedByObjdump(t *testing.T) {
	objdump := reftool.Need(t, "objdump", "binutils")
	out, err := Build(testParts())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.efi")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(objdump, "-h", file).CombinedOutput()
	if err != nil {
		t.Fatalf("objdump: %v\n%s", err, text)
	}
	for _, s := range []string{".text", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"} {
		if !strings.Contains(string(text), s) {
			t.Errorf("objdump does not list %s:\n%s", s, text)
		}
	}
}

func TestBuildRefusesBadParts(t *testing.T) {
	noRoom := fakePE(0x2000)
	binary.LittleEndian.PutUint32(noRoom[0x84+coffHeaderSize+sizeOfHeadersAt:], 0x1c0)
	arm := fakePE(0x2000)
	binary.LittleEndian.PutUint16(arm[0x84:], 0xaa64)
	for _, tt := range []struct {
		name   string
		change func(*Parts)
		want   error
	}{
		{"stub is not PE", func(p *Parts) { p.Stub = []byte("hello") }, ErrNotPE},
		{"kernel is not PE", func(p *Parts) { p.Linux = make([]byte, 4096) }, ErrNotPE},
		{"section table full", func(p *Parts) { p.Stub = noRoom }, ErrNoHeaderRoom},
		{"two architectures", func(p *Parts) { p.Linux = arm }, nil},
		{"line break", func(p *Parts) { p.Cmdline = "quiet\ninit=/bin/sh" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testParts()
			tt.change(&p)
			_, err := Build(p)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Build = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestChecksumOfKnownFile(t *testing.T) {
	b := fakePE(0x2000)
	at := 0x84 + coffHeaderSize + checksumAt
	sum := checksum(b, at)
	// The field itself does not count.
	binary.LittleEndian.PutUint32(b[at:], 0xdeadbeef)
	if got := checksum(b, at); got != sum {
		t.Errorf("checksum changed from %#x to %#x with the field", sum, got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fakePE(0x2000))
	f.Add([]byte("MZ"))
	kernel := fakePE(0x9000)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parse(b); err != nil {
			if !errors.Is(err, ErrNotPE) {
				t.Errorf("parse: %v does not wrap ErrNotPE", err)
			}
			return
		}
		out, err := Build(Parts{Stub: b, Cmdline: "x", Linux: kernel})
		if err != nil {
			return
		}
		if _, err := parse(out); err != nil {
			t.Errorf("Build gave a file that parse refuses: %v", err)
		}
	})
}

// TestFixedContentIsAtItsPlaceAndKnowsTheOthers: a boot loader without PE reads the file by sectors.
func TestFixedContentIsAtItsPlaceAndKnowsTheOthers(t *testing.T) {
	p := testParts()
	var initrd, linux Extent
	want := bytes.Repeat([]byte("fixed!"), 100)
	p.Fixed = &Fixed{Name: ".grub", At: 0x4000, Size: int64(len(want)), Content: func(i, l Extent) ([]byte, error) {
		initrd, linux = i, l
		return want, nil
	}}
	out, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out[0x4000:][:len(want)], want) {
		t.Error("the content is not at its place")
	}
	for _, s := range []struct {
		name string
		at   Extent
		data []byte
	}{{"initrd", initrd, p.Initrd}, {"linux", linux, p.Linux}} {
		if s.at.Offset%512 != 0 || s.at.Size != int64(len(s.data)) {
			t.Fatalf("%s at %+v, want %d bytes from a multiple of 512 on", s.name, s.at, len(s.data))
		}
		end := (s.at.Offset + s.at.Size + 511) / 512 * 512
		if got := out[s.at.Offset:end]; !bytes.Equal(got[:len(s.data)], s.data) || len(bytes.Trim(got[len(s.data):], "\x00")) != 0 {
			t.Errorf("%s is not at %+v, filled up with zeros", s.name, s.at)
		}
	}
	at := 0x84 + coffHeaderSize + checksumAt
	if got, want := binary.LittleEndian.Uint32(out[at:]), checksum(out, at); got != want {
		t.Errorf("checksum %#x, want %#x", got, want)
	}
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	var end uint32
	for _, s := range f.Sections {
		if s.VirtualAddress < end {
			t.Errorf("section %s at %#x overlaps the one before it, which ends at %#x", s.Name, s.VirtualAddress, end)
		}
		end = s.VirtualAddress + s.VirtualSize
	}
}

func TestFixedRefusesWhatHasNoPlace(t *testing.T) {
	content := func(n int) func(Extent, Extent) ([]byte, error) {
		return func(Extent, Extent) ([]byte, error) { return make([]byte, n), nil }
	}
	refused := errors.New("refused")
	for _, tt := range []struct {
		name  string
		fixed Fixed
		want  error
	}{
		{"inside the stub", Fixed{Name: ".x", At: 0x400, Size: 1, Content: content(1)}, nil},
		{"between sectors", Fixed{Name: ".x", At: 0x4001, Size: 1, Content: content(1)}, nil},
		{"no bytes", Fixed{Name: ".x", At: 0x4000, Content: content(0)}, nil},
		{"too short", Fixed{Name: ".x", At: 0x4000, Size: 2, Content: content(1)}, nil},
		{"too long", Fixed{Name: ".x", At: 0x4000, Size: 2, Content: content(3)}, nil},
		{"name of the stub's", Fixed{Name: ".text", At: 0x4000, Size: 1, Content: content(1)}, nil},
		{"no content", Fixed{Name: ".x", At: 0x4000, Size: 1, Content: func(Extent, Extent) ([]byte, error) { return nil, refused }}, refused},
	} {
		p := testParts()
		p.Fixed = &tt.fixed
		if _, err := Build(p); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Build = %v, want an error (%v)", tt.name, err, tt.want)
		}
	}
}
