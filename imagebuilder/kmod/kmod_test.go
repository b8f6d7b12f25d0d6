package kmod

import (
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/boards"
)

// small is a made-up kernel: a needs b, b needs c; d has a soft dependency on a name and on an alias.
func small(t *testing.T) *Tree {
	t.Helper()
	k := &Tree{Version: "6.0-test", dir: "/modules", index: map[string][]byte{
		"modules.dep": []byte("kernel/net/a.ko.xz: kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz\nkernel/lib/b-x.ko.xz: kernel/lib/c.ko.xz\n" +
			"kernel/lib/c.ko.xz:\nkernel/fs/deep/d.ko.xz:\nkernel/crypto/crc_generic.ko.xz:\nkernel/crypto/crc-fast.ko.xz:\n"),
		"modules.alias":   []byte("# Aliases\nalias pci:v1* a\nalias crc crc_generic\nalias crc crc_fast\nalias fs-d d\n"),
		"modules.softdep": []byte("# Soft dependencies\nsoftdep d pre: b_x missing post: crc\nsoftdep a pre: d\n"),
		"modules.builtin": []byte("kernel/fs/in-kernel.ko\n"),
	}}
	if err := k.parse(); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSelectionIsClosedUnderDependency(t *testing.T) {
	for _, c := range []struct {
		name             string
		include, exclude []string
		want             string
	}{
		{"a module without any", []string{"lib/c"}, nil, "kernel/lib/c.ko.xz"},
		{"a module with some", []string{"lib/b-x"}, nil, "kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
		{"a folder", []string{"lib"}, nil, "kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
		{"a pattern", []string{"crypto/crc*"}, nil, "kernel/crypto/crc-fast.ko.xz kernel/crypto/crc_generic.ko.xz"},
		{"excluded", []string{"crypto"}, []string{"crypto/crc-*"}, "kernel/crypto/crc_generic.ko.xz"},
		{"excluded but needed", []string{"lib"}, []string{"lib/c"}, "kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
		{"soft dependencies by name and alias", []string{"fs"}, nil,
			"kernel/crypto/crc-fast.ko.xz kernel/crypto/crc_generic.ko.xz kernel/fs/deep/d.ko.xz kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
	} {
		got, err := small(t).Select(boards.Selection{Include: c.include, Exclude: c.exclude})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: Select = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestEveryPatternThatMatchesNothingIsNamed(t *testing.T) {
	_, err := small(t).Select(boards.Selection{Include: []string{"lib/c", "net/x", "li"}, Exclude: []string{"fs/*/e"}})
	if err == nil {
		t.Fatal("Select = nil, want an error")
	}
	for _, p := range []string{`"net/x"`, `"li"`, `"fs/*/e"`} {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not name %s: %v", p, err)
		}
	}
	if strings.Contains(err.Error(), "lib/c") {
		t.Errorf("the error names a pattern that matches: %v", err)
	}
}

func TestIndexIsCutToTheChosenModules(t *testing.T) {
	entries, err := small(t).Entries("m", []string{"kernel/fs/deep/d.ko.xz", "kernel/lib/b-x.ko.xz", "kernel/lib/c.ko.xz"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	var paths []string
	for _, e := range entries {
		got[e.Path] = string(e.Data)
		paths = append(paths, e.Path)
	}
	if !slices.IsSorted(paths) {
		t.Errorf("paths are not sorted: %q", paths)
	}
	for path, want := range map[string]string{
		"m/modules.dep":     "kernel/lib/b-x.ko.xz: kernel/lib/c.ko.xz\nkernel/lib/c.ko.xz:\nkernel/fs/deep/d.ko.xz:\n",
		"m/modules.alias":   "# Aliases\nalias fs-d d\n",
		"m/modules.softdep": "# Soft dependencies\nsoftdep d pre: b_x missing post: crc\n",
	} {
		if got[path] != want {
			t.Errorf("%s = %q, want %q", path, got[path], want)
		}
	}
	if _, err := small(t).Entries("m", []string{"kernel/none.ko"}); err == nil {
		t.Error("Entries of a module that does not exist = nil, want an error")
	}
}
