package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/reftool"
)

const mib = handmade.MiB

// parts are those of the hand-made GPT.
var parts = []handmade.Part{
	{Start: 1 * mib, Size: 1 * mib, Type: disk.TypeESP, Name: "esp"},
	{Start: 2 * mib, Size: 1 * mib, Type: disk.TypeBIOSBoot, Name: "bios", Bootable: true},
}

func TestReadMBR(t *testing.T) {
	good := []handmade.Part{
		{Start: 1 * mib, Size: 1 * mib, Type: "0x0c", Bootable: true},
		{Start: 2 * mib, Size: 1 * mib, Type: "0x83"},
	}
	for _, c := range []struct {
		name  string
		parts []handmade.Part
		spoil func(b []byte)
		want  string // part of the error
	}{
		{name: "good", parts: good},
		{name: "no signature", parts: good, spoil: func(b []byte) { b[511] = 0 }, want: "does not end with 55 aa"},
		{name: "overlap", parts: []handmade.Part{good[0], {Start: 2*mib - 512, Size: mib, Type: "0x83"}}, want: "partitions 1 and 2 overlap"},
		{name: "behind the end", parts: []handmade.Part{{Start: 3 * mib, Size: 1*mib + 512, Type: "0x83"}}, want: "of a disk of"},
		{name: "over the table", parts: []handmade.Part{{Start: 0, Size: mib, Type: "0x83"}}, want: "partition 1"},
		{name: "boot indicator", parts: good, spoil: func(b []byte) { b[446] = 1 }, want: "boot indicator"},
		{name: "hybrid", parts: append(good, handmade.Part{Start: 512, Size: mib - 512, Type: "0xee"}), want: "hybrid MBR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := make([]byte, 4*mib)
			handmade.MBR(b, c.parts...)
			if c.spoil != nil {
				c.spoil(b)
			}
			table, err := disk.Read(bytes.NewReader(b), int64(len(b)))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want one with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(table.Partitions) != 2 || table.Partitions[0].Type != disk.TypeFAT32LBA || !table.Partitions[0].Bootable || table.Partitions[1].Start != 2*mib {
				t.Errorf("partitions %+v", table.Partitions)
			}
		})
	}
}

func TestReadGPT(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
		want  string
	}{
		{name: "good"},
		{"no header", func(b []byte) { b[512] = 0 }, "no signature"},
		{"header CRC", func(b []byte) { b[512+40]++ }, "GPT header at LBA 1: CRC32"},
		{"entries CRC", func(b []byte) { b[1024]++ }, "GPT entries at LBA 2: CRC32"},
		{"backup header", func(b []byte) { b[len(b)-512]++ }, "no signature"},
		{"backup entries", func(b []byte) { b[len(b)-512*33]++ }, "CRC32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := make([]byte, 4*mib)
			handmade.GPT(b, 128, parts...)
			if c.spoil != nil {
				c.spoil(b)
			}
			table, err := disk.Read(bytes.NewReader(b), int64(len(b)))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want one with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p := table.Partitions; len(p) != 2 || p[0].Name != "esp" || p[0].Type != disk.TypeESP || !p[1].Bootable || p[1].End() != 3*mib {
				t.Errorf("partitions %+v", p)
			}
			for _, f := range []struct {
				from, to int64
				want     string
			}{{8 << 10, 40 << 10, "the GPT entries"}, {17 << 10, 32 << 10, ""}, {2*mib - 1, 2 * mib, "partition 1"}, {3 * mib, 3*mib + 512, ""}} {
				if got := table.Free(f.from, f.to); !strings.HasPrefix(got, f.want) || f.want == "" && got != "" {
					t.Errorf("Free(%d, %d) = %q, want %q", f.from, f.to, got, f.want)
				}
			}
		})
	}
	t.Run("a disk that has grown", func(t *testing.T) {
		b := make([]byte, 4*mib)
		handmade.GPT(b, 128, parts...)
		b = append(b, make([]byte, mib)...)
		if _, err := disk.Read(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "backup header") {
			t.Errorf("error %v, want one about the backup header", err)
		}
	})
}

// The hand-made tables are no test if nobody else would take them.
func TestSgdiskTakesTheHandmadeGPT(t *testing.T) {
	sgdisk := reftool.Need(t, "sgdisk", "gdisk")
	b := make([]byte, 4*mib)
	handmade.GPT(b, 128, parts...)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sgdisk, "-v", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

var files = map[string][]byte{
	"BOOT.SCR":                       []byte("short"),
	"bootcode.bin":                   bytes.Repeat([]byte("x"), 5000),
	"empty":                          {},
	"a name with more than 13 c.dtb": []byte("long"),
	"slot-a/dtb/vendor/board.dtb":    []byte("deep"),
}

func TestReadFAT(t *testing.T) {
	for _, size := range []int64{16 * mib, 40 * mib} {
		b := handmade.FAT(t, size, files)
		f, err := disk.OpenFAT(bytes.NewReader(append(make([]byte, mib), b...)), disk.Partition{Number: 1, Start: mib, Size: size})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range files {
			for _, n := range []string{name, "/" + strings.ToUpper(name)} {
				if got, err := f.ReadFile(n); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d MiB: ReadFile(%q) = %d bytes, %v; want %d", size/mib, n, len(got), err, len(want))
				}
			}
		}
		if _, err := f.ReadFile("slot-a/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile of a missing file: %v", err)
		}
		if got, want := f.FAT32(), size == 40*mib; got != want {
			t.Errorf("%d MiB: FAT32 = %v, want %v", size/mib, got, want)
		}
		if f.Has("slot-a") || !f.Has("slot-a/dtb/VENDOR/board.dtb") {
			t.Error("Has is wrong of a folder or a deep file")
		}
		if names, err := f.List(""); err != nil || len(names) != 4 {
			t.Errorf("List = %q, %v; want the 4 files of the root", names, err)
		}
	}
}

// Long names with spaces and a letter that is not ASCII, and a folder of more than one cluster.
func TestReadFATOfLongNamesInALargeFolder(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8") // mcopy takes names apart by it
	content := func(size int) []byte { return bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size] }
	want := map[string]int{"slot-a/a long name with spaces and ä.img": 100_000, "slot-a/boot.env": 1, "SHORT.TXT": 512, "slot-a/empty": 0}
	files := map[string][]byte{}
	for name, size := range want {
		files[name] = content(size)
	}
	for k := range 40 {
		files[fmt.Sprintf("slot-a/filler with a long name %d", k)] = content(1)
	}
	f, err := disk.OpenFAT(bytes.NewReader(handmade.FAT(t, 64*mib, files)), disk.Partition{Number: 1, Size: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range want {
		if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, content(size)) {
			t.Errorf("ReadFile(%q) = %d bytes, %v, want the %d written", name, len(got), err, size)
		}
	}
	for name, want := range map[string]error{"SLOT-A/BOOT.ENV": nil, "slot-a": disk.ErrFolder, "gone": fs.ErrNotExist, "SHORT.TXT/x": fs.ErrNotExist} {
		if _, err := f.Size(name); !errors.Is(err, want) {
			t.Errorf("Size(%q) = %v, want %v", name, err, want)
		}
	}
}

func TestBrokenFATIsRefused(t *testing.T) {
	const size = 40 * mib
	good := handmade.FAT(t, size, files)
	table := 32 * 512 // reserved sectors of FAT32, as mformat makes them
	open := func(b []byte) (*disk.FAT, error) {
		return disk.OpenFAT(bytes.NewReader(b), disk.Partition{Number: 1, Size: size})
	}
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
	}{
		{"no signature", func(b []byte) { b[510] = 0 }},
		{"4 KiB sectors", func(b []byte) { b[12] = 0x10 }},
		{"more sectors than the partition", func(b []byte) { b[35] = 1 }},
		{"table too short", func(b []byte) { b[36], b[37], b[38] = 10, 0, 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(good)
			c.spoil(b)
			if _, err := open(b); !errors.Is(err, disk.ErrNotFAT) {
				t.Errorf("OpenFAT: %v, want ErrNotFAT", err)
			}
		})
	}
	t.Run("tables that differ", func(t *testing.T) {
		b := bytes.Clone(good)
		b[table+100]++
		f, err := open(b)
		if err != nil || !f.Unequal() {
			t.Errorf("OpenFAT of two different tables: %v, want one that says so", err)
		}
		if f, err = open(good); err != nil || f.Unequal() {
			t.Errorf("OpenFAT of equal tables: %v, want one that says so", err)
		}
	})
	t.Run("a chain that ends early", func(t *testing.T) {
		b := bytes.Clone(good)
		// Both tables: every chain ends with its first cluster.
		n := int(b[36]) | int(b[37])<<8
		for copies := range 2 {
			at := table + copies*n*512
			for i := 3; i < 200; i++ {
				copy(b[at+4*i:], "\xff\xff\xff\x0f")
			}
		}
		f, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadFile("bootcode.bin"); err == nil {
			t.Error("a file of 5000 bytes was read from one cluster of 512")
		}
	})
}

func TestOverlayKeepsWritesOffTheDisk(t *testing.T) {
	base := bytes.Repeat([]byte{7}, 4096)
	o := disk.NewOverlay(bytes.NewReader(base))
	if n, err := o.WriteAt(bytes.Repeat([]byte{9}, 700), 500); n != 700 || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	got := make([]byte, 2000)
	if _, err := o.ReadAt(got, 100); err != nil {
		t.Fatal(err)
	}
	want := append(append(bytes.Repeat([]byte{7}, 400), bytes.Repeat([]byte{9}, 700)...), bytes.Repeat([]byte{7}, 900)...)
	if !bytes.Equal(got, want) {
		t.Error("what was written is not what is read")
	}
	if bytes.IndexByte(base, 9) >= 0 {
		t.Error("the disk below was written to")
	}
}

// FuzzRead has the checksums of what it made up set right, so that more than these is tried.
func FuzzRead(f *testing.F) {
	const size = 64 << 10
	b := make([]byte, size)
	handmade.GPT(b, 4, handmade.Part{Start: 32 << 10, Size: 4 << 10, Type: disk.TypeESP, Name: "x"})
	f.Add(b[446:512], b[512:512+92], b[1024:1024+512])
	m := make([]byte, size)
	handmade.MBR(m, handmade.Part{Start: 32 << 10, Size: 4 << 10, Type: "0x0c"})
	f.Add(m[446:512], []byte(nil), []byte(nil))
	base := bytes.NewReader(b)
	le := binary.LittleEndian
	f.Fuzz(func(t *testing.T, mbr, header, entries []byte) {
		o := disk.NewOverlay(base)
		h := make([]byte, 92)
		copy(h, header)
		e := make([]byte, 512)
		copy(e, entries)
		if le.Uint32(h[80:]) == 4 && le.Uint32(h[84:]) == 128 {
			le.PutUint32(h[88:], crc32.ChecksumIEEE(e))
		}
		clear(h[16:20])
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		for _, w := range []struct {
			data []byte
			at   int64
		}{{mbr[:min(len(mbr), 66)], 446}, {h, 512}, {e, 1024}, {e, size - 1024}} {
			if _, err := o.WriteAt(w.data, w.at); err != nil {
				t.Fatal(err)
			}
		}
		table, err := disk.Read(o, size)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start < disk.SectorSize || p.Size <= 0 || p.End() > size {
				t.Errorf("partition %+v of a disk of %d bytes", p, size)
			}
		}
	})
}

// FuzzFAT makes up the fields of a boot sector, the beginning of both tables and the root of a good file system.
func FuzzFAT(f *testing.F) {
	const size = 3 * mib
	b := handmade.FAT(f, size, map[string][]byte{"dir/a long name.txt": []byte("x"), "b": make([]byte, 3000)})
	le := binary.LittleEndian
	table := int64(le.Uint16(b[14:])) * 512
	second := table + int64(le.Uint16(b[22:]))*512
	root := second + int64(le.Uint16(b[22:]))*512
	f.Add(b[11:48], b[table:table+32], b[root:root+256])
	base := bytes.NewReader(b)
	f.Fuzz(func(t *testing.T, boot, fat, dir []byte) {
		o := disk.NewOverlay(base)
		for _, w := range []struct {
			data []byte
			at   int64
			most int
		}{{boot, 11, 37}, {fat, table, 512}, {fat, second, 512}, {dir, root, 512}} {
			if _, err := o.WriteAt(w.data[:min(len(w.data), w.most)], w.at); err != nil {
				t.Fatal(err)
			}
		}
		v, err := disk.OpenFAT(o, disk.Partition{Number: 1, Size: size})
		if err != nil {
			return
		}
		for _, dir := range []string{"", "dir"} {
			names, err := v.List(dir)
			if err != nil {
				continue
			}
			for _, n := range names {
				if data, err := v.ReadFile(dir + "/" + n); err == nil && len(data) > size {
					t.Errorf("%s has %d bytes on a disk of %d", n, len(data), size)
				}
			}
		}
	})
}
