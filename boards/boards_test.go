package boards

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestEveryBoardIsComplete(t *testing.T) {
	names := List()
	if !slices.Contains(names, "pc") {
		t.Fatalf("List() = %q, want pc among them", names)
	}
	for _, name := range names {
		b, err := Load(name)
		if err != nil {
			t.Errorf("Load(%q): %v", name, err)
			continue
		}
		if len(b.Lock) == 0 {
			t.Errorf("board %s: packages.lock is empty", name)
		}
		checkLayout(t, b)
		checkReadme(t, name)
	}
}

// checkLayout demands what the disk writer and PID 1 rely on.
func checkLayout(t *testing.T, b *Board) {
	for _, p := range []string{"esp", "bootstate", "root-a", "root-b", "state"} {
		if b.PartitionSize(p) == 0 {
			t.Errorf("board %s: no partition %s", b.Name, p)
		}
	}
	if a, bb := b.PartitionSize("root-a"), b.PartitionSize("root-b"); a != bb {
		t.Errorf("board %s: slots differ: root-a has %d bytes, root-b %d", b.Name, a, bb)
	}
	last := ""
	for _, p := range b.Partitions {
		if p.At == 0 { // after the one before it
			last = p.Name
		}
		if p.At >= firstOffset {
			t.Errorf("board %s: partition %s is at byte %d, want one before the first partition's place, %d", b.Name, p.Name, p.At, firstOffset)
		}
	}
	if last != "state" {
		t.Errorf("board %s: the last partition of the disk is %s, want state: it grows", b.Name, last)
	}
	if b.Boot == BootUBoot || b.Boot == BootPi {
		return
	}
	if b.Table == TableMBR {
		t.Errorf("board %s: %s needs names, which an MBR does not have", b.Name, b.Boot)
	}
}

// firstOffset is disk.FirstOffset, which this package cannot import.
const firstOffset = 16 << 20

// TestBoardsPutBootStateWhereLoadersLook holds the places that boot.scr and PID 1 know: the boot state at 15 MiB, and
// nothing that a boot ROM reads over it, over the partition table or over the first partition.
func TestBoardsPutBootStateWhereLoadersLook(t *testing.T) {
	for _, name := range List() {
		b, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Partitions {
			if p.Name == "bootstate" && p.At != 15*mib {
				t.Errorf("board %s: bootstate is at byte %d, want 15 MiB", name, p.At)
			}
		}
		for _, r := range b.Raw {
			if r.At < gptEnd && b.Table != TableMBR {
				t.Errorf("board %s: %s at byte %d is in the GPT, which ends at byte %d", name, r.From, r.At, gptEnd)
			}
			if r.At >= 15*mib {
				t.Errorf("board %s: %s at byte %d is not before the boot state", name, r.From, r.At)
			}
		}
	}
}

// gptEnd is where a GPT ends: protective MBR, header and 128 entries, bytes.
const gptEnd = 34 * 512

// TestUBootBoardsLoadIntoMemoryThatIsFree has every place in order and far enough from the next one for
// a kernel of 56 MiB with its BSS and a device tree of 256 KiB, in the first 448 MiB of the board's memory.
func TestUBootBoardsLoadIntoMemoryThatIsFree(t *testing.T) {
	for _, name := range List() {
		b, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if b.UBoot == nil {
			continue
		}
		u := b.UBoot
		if u.Kernel%(2*mib) != 0 {
			t.Errorf("board %s: kernel at %#x: want a border of 2 MiB, or U-Boot moves it", name, u.Kernel)
		}
		start := u.Kernel &^ (1<<30 - 1) // of memory: the boards' begins at 0 or 1 GiB
		places := []struct {
			name     string
			at, size Address
		}{{"kernel", u.Kernel, 56 * mib}, {"fdt", u.FDT, 256 << 10}, {"scratch", u.Scratch, 64 << 10}, {"initrd", u.Initrd, 64 * mib}}
		for i, p := range places {
			if p.at+p.size > start+448*mib {
				t.Errorf("board %s: %s at %#x with %d MiB ends behind the 448 MiB that every model has", name, p.name, p.at, p.size/mib)
			}
			if i > 0 && p.at < places[i-1].at+places[i-1].size {
				t.Errorf("board %s: %s at %#x is over %s", name, p.name, p.at, places[i-1].name)
			}
		}
	}
}

func checkReadme(t *testing.T, name string) {
	text, err := os.ReadFile(filepath.Join(name, "README.md"))
	if err != nil {
		t.Error(err)
		return
	}
	for _, s := range []string{"Name", "Boot chain", "Media", "Status", "Sources"} {
		if !strings.Contains(string(text), "\n## "+s+"\n") {
			t.Errorf("boards/%s/README.md: no section %q", name, s)
		}
	}
}

func TestLoadOfUnknownBoardNamesTheNearest(t *testing.T) {
	for _, c := range []struct{ name, nearest string }{{"pd", "pc"}, {"PC", ""}, {"pc2", "pc"}, {"toaster", ""}, {"", ""}, {"../pc", ""}} {
		_, err := Load(c.name)
		var unknown *UnknownError
		if !errors.As(err, &unknown) {
			t.Errorf("Load(%q) = %v, want *UnknownError", c.name, err)
			continue
		}
		if unknown.Nearest != c.nearest || !slices.Contains(unknown.Boards, "pc") {
			t.Errorf("Load(%q): nearest %q of %q, want %q", c.name, unknown.Nearest, unknown.Boards, c.nearest)
		}
	}
}

const good = `name: pc
description: a test
arch: amd64
boot: systemd-boot
suite: trixie
kernel: linux-image-amd64
modules:
  root: {include: [fs/ext4]}
  initramfs: {include: [fs/ext4]}
partitions:
  - {name: esp, size: 1 GiB}
`

func TestBoardFileIsReadStrictly(t *testing.T) {
	for _, c := range []struct{ name, from, to, where string }{
		{"unknown key", "suite: trixie", "suite: trixie\ncolour: red", "boards/pc/board.yaml:6: unknown key \"colour\""},
		{"unknown nested key", "{include: [fs/ext4]}\n  init", "{includes: [fs/ext4]}\n  init", "boards/pc/board.yaml:8: unknown key \"includes\""},
		{"wrong type", "arch: amd64", "arch: [amd64]", "boards/pc/board.yaml:3: "},
		{"bad size", "1 GiB", "1 GB", "boards/pc/board.yaml:11: size \"1 GB\""},
		{"broken YAML", "arch: amd64", "arch: [", "boards/pc/board.yaml:"},
		{"bad arch", "arch: amd64", "arch: sparc", "boards/pc/board.yaml: arch: got \"sparc\""},
		{"other name", "name: pc", "name: pd", "boards/pc/board.yaml: name is \"pd\""},
		{"pattern that leaves the tree", "[fs/ext4]", "[../ext4]", "boards/pc/board.yaml: modules: pattern"},
		{"module to load by path", "modules:", "modules:\n  load: [drivers/i2c/i2c-dev]", "boards/pc/board.yaml: modules: load: \"drivers/i2c/i2c-dev\""},
		{"overlay by path", "suite: trixie", "suite: trixie\noverlays: [../x]", "boards/pc/board.yaml: overlays: \"../x\""},
		{"two documents", "name: pc", "name: pc\n---\nname: pc", "boards/pc/board.yaml: "},
		{"partition twice", "  - {name: esp, size: 1 GiB}", "  - {name: esp, size: 1 GiB}\n  - {name: esp, size: 1 GiB}", "boards/pc/board.yaml: partitions: esp is there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.from, c.to, 1)
			if text == good {
				t.Fatal("BUG: the case changes nothing")
			}
			_, err := load(fstest.MapFS{"pc/board.yaml": {Data: []byte(text)}, "pc/packages.lock": {}}, "pc")
			if err == nil || !strings.HasPrefix(err.Error(), c.where) {
				t.Errorf("load = %v, want an error that begins with %q", err, c.where)
			}
		})
	}
	if _, err := load(fstest.MapFS{"pc/board.yaml": {Data: []byte(good)}, "pc/packages.lock": {}}, "pc"); err != nil {
		t.Errorf("load of the unchanged file: %v", err)
	}
}

func TestFilesOfTheFolderRootAreRead(t *testing.T) {
	files := fstest.MapFS{
		"pc/board.yaml": {Data: []byte(good)}, "pc/packages.lock": {},
		"pc/root/etc/a.conf": {Data: []byte("a")}, "pc/root/.hidden": {Data: []byte("b")},
	}
	b, err := load(files, "pc")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.RootFiles) != 2 || string(b.RootFiles["etc/a.conf"]) != "a" || string(b.RootFiles[".hidden"]) != "b" {
		t.Errorf("RootFiles = %q, want etc/a.conf and .hidden", b.RootFiles)
	}
}

func TestModulesToLoadOfListsAreAdded(t *testing.T) {
	text := strings.Replace(good, "modules:\n", "lists: [more]\nmodules:\n  load: [a]\n", 1)
	b, err := load(fstest.MapFS{
		"pc/board.yaml": {Data: []byte(text)}, "pc/packages.lock": {},
		"lists/more.yaml": {Data: []byte("modules: {load: [b-c]}\n")},
	}, "pc")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Modules.Load, []string{"a", "b-c"}) {
		t.Errorf("Modules.Load = %q, want a and b-c", b.Modules.Load)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("name: [1, 2"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := parse("board.yaml", text)
		if (b == nil) == (err == nil) {
			t.Errorf("parse = %v, %v: want one of the two", b, err)
		}
	})
}
