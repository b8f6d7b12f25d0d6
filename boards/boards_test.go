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
	if last := b.Partitions[len(b.Partitions)-1].Name; last != "state" {
		t.Errorf("board %s: the last partition is %s, want state: it grows", b.Name, last)
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
