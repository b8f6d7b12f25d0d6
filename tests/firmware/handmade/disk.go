// Package handmade makes small disks for the tests of the readers: partition tables byte by byte from their
// specifications, FAT file systems with mtools. It uses nothing of Keelson's builder.
package handmade

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/reftool"
)

// MiB is a mebibyte.
const MiB = 1 << 20

// Part is a partition to make.
type Part struct {
	Start, Size int64  // bytes
	Type        string // "0x0c", or a GUID in the form of package disk
	Name        string // GPT
	Bootable    bool
}

// MBR writes a table of up to four partitions into the first sector of a disk.
func MBR(b []byte, parts ...Part) {
	for i, p := range parts {
		e := b[446+16*i:][:16]
		if p.Bootable {
			e[0] = 0x80
		}
		var t byte
		if _, err := fmt.Sscanf(p.Type, "0x%02x", &t); err != nil {
			panic("BUG: " + p.Type)
		}
		e[4] = t
		binary.LittleEndian.PutUint32(e[8:], uint32(p.Start/disk.SectorSize))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.Size/disk.SectorSize))
	}
	b[510], b[511] = 0x55, 0xAA
}

// GPT writes a protective MBR and both tables, of so many entries, on a disk of len(b) bytes.
func GPT(b []byte, entries int, parts ...Part) {
	le := binary.LittleEndian
	last := uint64(len(b))/disk.SectorSize - 1
	MBR(b, Part{Start: disk.SectorSize, Size: int64(last) * disk.SectorSize, Type: "0xee"})
	array := make([]byte, entries*128)
	for i, p := range parts {
		e := array[128*i:]
		copy(e, guid(p.Type))
		copy(e[16:], guid(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i+1)))
		le.PutUint64(e[32:], uint64(p.Start/disk.SectorSize))
		le.PutUint64(e[40:], uint64((p.Start+p.Size)/disk.SectorSize-1))
		if p.Bootable {
			e[48] = 4
		}
		for j, u := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*j:], u)
		}
	}
	sectors := uint64(len(array)+disk.SectorSize-1) / disk.SectorSize
	write := func(at, other, table uint64) {
		h := b[at*disk.SectorSize:][:disk.SectorSize]
		clear(h)
		copy(h, "EFI PART\x00\x00\x01\x00")
		le.PutUint32(h[12:], 92)
		le.PutUint64(h[24:], at)
		le.PutUint64(h[32:], other)
		le.PutUint64(h[40:], 2+sectors)
		le.PutUint64(h[48:], last-sectors-1)
		copy(h[56:], guid("00000000-1111-4000-8000-222222222222"))
		le.PutUint64(h[72:], table)
		le.PutUint32(h[80:], uint32(entries))
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		copy(b[table*disk.SectorSize:], array)
	}
	write(1, last, 2)
	write(last, 1, last-sectors)
}

func guid(s string) []byte {
	var a uint32
	var b, c, d uint16
	var e uint64
	if _, err := fmt.Sscanf(s, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); err != nil {
		panic("BUG: " + s)
	}
	out := binary.LittleEndian.AppendUint32(nil, a)
	out = binary.LittleEndian.AppendUint16(out, b)
	out = binary.LittleEndian.AppendUint16(out, c)
	out = binary.BigEndian.AppendUint16(out, d)
	return append(out, binary.BigEndian.AppendUint64(nil, e)[2:]...)
}

// FAT makes a file system of size bytes with these files, by path. The test is skipped without the tools that make it.
func FAT(t testing.TB, size int64, files map[string][]byte) []byte {
	t.Helper()
	mkfs, mcopy := reftool.Need(t, "mkfs.vfat", "dosfstools"), reftool.Need(t, "mcopy", "mtools")
	dir := t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "fat")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	tool := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
		}
	}
	bits := "16"
	if size >= 33*MiB {
		bits = "32"
	}
	tool(mkfs, "-F", bits, "-s", "1", "-i", "12345678", image)
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		args := []string{"-i", image, "-s"}
		for _, e := range entries {
			args = append(args, filepath.Join(tree, e.Name()))
		}
		tool(mcopy, append(args, "::")...)
	}
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
