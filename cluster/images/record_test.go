package images

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestListTakesArchivesOnly(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"b.tar", "a.tar.zst", "c.tar.gz", "d.tgz", "readme.txt", ".hidden.tar", "x.tar.new"} {
		write(t, filepath.Join(dir, n), "x")
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.tar"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range got {
		names = append(names, filepath.Base(f.path))
	}
	if want := []string{"a.tar.zst", "b.tar", "c.tar.gz", "d.tgz"}; len(names) != len(want) || names[0] != want[0] || names[3] != want[3] {
		t.Errorf("list() = %v, want %v", names, want)
	}
	if got, err := list(filepath.Join(dir, "missing")); got != nil || err != nil {
		t.Errorf("list(missing) = %v, %v, want nothing", got, err)
	}
}

func TestKnownAfterRestartAndUnknownAfterChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	write(t, path, "one")
	look := func() file {
		t.Helper()
		l, err := list(dir)
		if err != nil || len(l) != 1 {
			t.Fatalf("list() = %v, %v", l, err)
		}
		return l[0]
	}
	recordPath := filepath.Join(t.TempDir(), "record.json")
	for _, step := range []struct {
		name      string
		before    func()
		trustTime bool
		want      bool
	}{
		{"first", nil, true, false},
		{"again", nil, true, true},
		{"again by hash", nil, false, true},
		{"touched", func() {
			if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, true, true},
		{"other content, same size and time", func() {
			write(t, path, "two")
			if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, false, false},
		{"grown", func() { write(t, path, "three") }, true, false},
		{"record damaged", func() { write(t, recordPath, "{") }, true, false},
	} {
		if step.before != nil {
			step.before()
		}
		r := readRecord(recordPath)
		f := look()
		e, got, err := r.known(f, step.trustTime)
		if err != nil {
			t.Fatal(err)
		}
		if got != step.want {
			t.Errorf("%s: known() = %t, want %t", step.name, got, step.want)
		}
		r.Files[f.path] = e
		if err := r.write(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r := readRecord(recordPath)
	r.forget()
	if len(r.Files) != 0 {
		t.Errorf("forget() left %v", r.Files)
	}
}

func TestReplaceTellsWhichImagesNoArchiveHasAnyMore(t *testing.T) {
	r := readRecord(filepath.Join(t.TempDir(), "record.json"))
	r.replace("a.tar", entry{Images: []string{"app:1", "shared:1"}})
	r.replace("b.tar", entry{Images: []string{"shared:1"}})
	if got := r.replace("a.tar", entry{Images: []string{"app:2"}}); len(got) != 1 || got[0] != "app:1" {
		t.Errorf("replace() = %v, want app:1: b.tar still has shared:1", got)
	}
	if got := r.replace("a.tar", entry{Images: []string{"app:2"}}); len(got) != 0 {
		t.Errorf("replace() by the same = %v, want nothing", got)
	}
}
