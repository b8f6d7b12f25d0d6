package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func sample(t *testing.T, order ...int) *Tree {
	t.Helper()
	o := Origin{Kind: Keelson, Name: "test"}
	file := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	add := []func(*Tree) error{
		func(tr *Tree) error { return tr.AddDir("tmp", fs.ModeSticky|0o777, o) },
		func(tr *Tree) error { return tr.AddFile("a/b/file", 0o755, file, o) },
		func(tr *Tree) error { return tr.AddData("a-b", 0o644, []byte("data"), o) },
		func(tr *Tree) error { return tr.AddLink("a/link", "b/file", o) },
		func(tr *Tree) error {
			return tr.Add(Entry{Path: "dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3, Origin: o})
		},
	}
	tr := New()
	for _, i := range order {
		if err := add[i](tr); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestEntriesHaveParentsFirstWhateverTheOrderOfAdding(t *testing.T) {
	want := []string{".", "a", "a/b", "a/b/file", "a/link", "a-b", "dev", "dev/null", "tmp"}
	for _, order := range [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}} {
		var got []string
		for _, e := range sample(t, order...).Entries() {
			got = append(got, e.Path)
		}
		if !slices.Equal(got, want) {
			t.Errorf("order %v: Entries() = %q, want %q", order, got, want)
		}
	}
}

func TestAddRefusesWhatCannotBe(t *testing.T) {
	tr := sample(t, 0, 1, 2, 3, 4)
	for _, c := range []struct {
		name string
		e    Entry
	}{
		{"absolute path", Entry{Path: "/etc"}},
		{"path that leaves", Entry{Path: "../etc"}},
		{"unclean path", Entry{Path: "a//b"}},
		{"file twice", Entry{Path: "a-b"}},
		{"directory over file", Entry{Path: "a-b", Mode: fs.ModeDir}},
		{"below a link", Entry{Path: "a/link/x"}},
		{"below a file", Entry{Path: "a-b/x"}},
		{"socket", Entry{Path: "s", Mode: fs.ModeSocket}},
	} {
		if err := tr.Add(c.e); err == nil {
			t.Errorf("%s: Add(%q) = nil, want an error", c.name, c.e.Path)
		}
	}
}

func TestDigestDependsOnContentsAlone(t *testing.T) {
	digest := func(tr *Tree) [32]byte {
		sums, err := tr.Sums()
		if err != nil {
			t.Fatal(err)
		}
		return tr.Digest(sums)
	}
	one, two := digest(sample(t, 0, 1, 2, 3, 4)), digest(sample(t, 4, 2, 0, 3, 1))
	if one != two {
		t.Errorf("digests of one content in two folders differ: %x, %x", one, two)
	}
	changed := sample(t, 0, 1, 2, 3, 4)
	if err := changed.AddDir("tmp", 0o777, Origin{}); err != nil {
		t.Fatal(err)
	}
	if digest(changed) == one {
		t.Error("the digest does not see a changed mode")
	}
}

func TestTarIsReadBackAndHasNothingOfTheHost(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0)
	var one, two bytes.Buffer
	if err := sample(t, 0, 1, 2, 3, 4).WriteTar(&one, epoch, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample(t, 4, 3, 2, 1, 0).WriteTar(&two, epoch, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two archives of one content differ")
	}
	tr := tar.NewReader(&one)
	n := 0
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(epoch) {
			t.Errorf("%s: owner %d:%d %q:%q, time %v", h.Name, h.Uid, h.Gid, h.Uname, h.Gname, h.ModTime)
		}
		if h.Name == "./tmp/" && h.Mode != 0o1777 {
			t.Errorf("mode of tmp = %o, want 1777", h.Mode)
		}
		if h.Name == "./dev/null" && (h.Devmajor != 1 || h.Devminor != 3) {
			t.Errorf("dev/null is %d:%d, want 1:3", h.Devmajor, h.Devminor)
		}
	}
	if n != 9 {
		t.Errorf("got %d members, want 9", n)
	}
}

func TestTarIsOrderedByRankThenByPath(t *testing.T) {
	tr := New()
	for _, name := range []string{"a/1", "a/2", "b/1", "c"} {
		if err := tr.AddData(name, 0o644, []byte(name), Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := tr.WriteTar(&out, time.Unix(0, 0), func(e *Entry) int {
		switch {
		case e.Mode.IsDir():
			return -1
		case e.Path == "a/1":
			return 1
		}
		return 0
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name)
	}
	if want := []string{"./", "./a/", "./b/", "./a/2", "./b/1", "./c", "./a/1"}; !slices.Equal(got, want) {
		t.Errorf("archive has %q, want %q", got, want)
	}
}

func TestReplaceTakesNoFolderAndNothingNew(t *testing.T) {
	tr := New()
	for _, err := range []error{tr.AddData("a", 0o644, []byte("old"), Origin{}), tr.AddDir("d", 0o755, Origin{}), tr.AddLink("l", "a", Origin{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []Entry{{Path: "new", Mode: 0o644}, {Path: "d", Mode: 0o644}, {Path: "a", Mode: fs.ModeDir | 0o755}, {Path: "a", Mode: fs.ModeNamedPipe | 0o644}} {
		if err := tr.Replace(e); err == nil {
			t.Errorf("Replace(%s, %v) = nil, want an error", e.Path, e.Mode)
		}
	}
	if e, ok := tr.Get("a"); !ok || string(e.Data) != "old" {
		t.Errorf("after refused replacements a is %q, %t", e.Data, ok)
	}
	for _, e := range []Entry{{Path: "a", Mode: 0o755, Data: []byte("new")}, {Path: "l", Mode: 0o644}} {
		if err := tr.Replace(e); err != nil {
			t.Errorf("Replace(%s): %v", e.Path, err)
		}
	}
	if e, _ := tr.Get("a"); string(e.Data) != "new" || e.Mode != 0o755 {
		t.Errorf("a is %q, %v, want the new one", e.Data, e.Mode)
	}
	if e, _ := tr.Get("l"); e.Mode != 0o644 || e.Link != "" {
		t.Errorf("l is %v to %q, want a file", e.Mode, e.Link)
	}
}

func TestContentThatCannotBeReadIsAnError(t *testing.T) {
	tr := New()
	if err := tr.AddFile("gone", 0o644, filepath.Join(t.TempDir(), "gone"), Origin{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Sums(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Sums = %v, want fs.ErrNotExist", err)
	}
	if err := tr.WriteTar(io.Discard, time.Unix(0, 0), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteTar = %v, want fs.ErrNotExist", err)
	}
}
