package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newStore(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	s := Store{Data: filepath.Join(dir, "server", "db"), Dir: filepath.Join(dir, "snapshot")}
	write(t, s.Data, map[string]string{"state.db": "old", "state.db-wal": "log", "sub/x": "deep"})
	return s
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func wantOld(t *testing.T, s Store) {
	t.Helper()
	got := read(t, s.Data)
	if len(got) != 3 || got["state.db"] != "old" || got["state.db-wal"] != "log" || got["sub/x"] != "deep" {
		t.Errorf("datastore is %v, want the old one", got)
	}
	for _, left := range []string{partial, replaced} {
		if _, err := os.Stat(s.Data + left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", s.Data+left, err)
		}
	}
}

func TestRestoreBringsBackWhatWasTaken(t *testing.T) {
	s := newStore(t)
	if err := s.Take("u1"); err != nil {
		t.Fatal(err)
	}
	write(t, s.Data, map[string]string{"state.db": "new", "extra": "x"})
	if err := s.Restore("u1"); err != nil {
		t.Fatal(err)
	}
	wantOld(t, s)
	if info, err := os.Stat(filepath.Join(s.Data, "state.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info, err)
	}
	if !s.Has("u1") {
		t.Error("Restore removed the snapshot")
	}
	if err := s.Remove(); err != nil || s.Has("u1") {
		t.Errorf("Remove = %v, Has = %v", err, s.Has("u1"))
	}
}

// Every state that a power cut in Restore leaves is one from which a second Restore gets to the end.
func TestRestoreCutShortCanBeRepeated(t *testing.T) {
	for name, cut := range map[string]func(s Store) error{
		"while it copies": func(s Store) error { return os.Mkdir(s.Data+partial, 0o700) },
		"between the renames": func(s Store) error {
			return errors.Join(os.Mkdir(s.Data+partial, 0o700), os.Rename(s.Data, s.Data+replaced))
		},
		"before the replaced data was removed": func(s Store) error { return os.Mkdir(s.Data+replaced, 0o700) },
		"after the data was removed for room":  func(s Store) error { return os.RemoveAll(s.Data) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := s.Take("u1"); err != nil {
				t.Fatal(err)
			}
			write(t, s.Data, map[string]string{"state.db": "new", "extra": "x"})
			if err := cut(s); err != nil {
				t.Fatal(err)
			}
			if err := s.Restore("u1"); err != nil {
				t.Fatal(err)
			}
			wantOld(t, s)
		})
	}
}

func TestACopyCutShortIsNoSnapshot(t *testing.T) {
	s := newStore(t)
	write(t, filepath.Join(s.Dir, "u1"+partial), map[string]string{"state.db": "ha"})
	if s.Has("u1") {
		t.Error("Has counts a copy under way")
	}
	if err := s.Restore("u1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Restore = %v, want fs.ErrNotExist", err)
	}
	wantOld(t, s)
	if err := s.Take("u1"); err != nil || !s.Has("u1") {
		t.Errorf("Take over the rest of one = %v", err)
	}
}

func TestTakeKeepsOnlyTheLatest(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{"u1", "u2", "u2"} {
		if err := s.Take(id); err != nil {
			t.Fatal(err)
		}
	}
	if s.Has("u1") || !s.Has("u2") {
		t.Errorf("Has(u1), Has(u2) = %v, %v, want false, true", s.Has("u1"), s.Has("u2"))
	}
}

func TestTakeNeedsRoomAndChangesNothingWithout(t *testing.T) {
	s := newStore(t)
	s.Free = func(string) (int64, error) { return spare + 9, nil } // the files have 10 bytes
	if err := s.Room(); !errors.Is(err, ErrRoom) {
		t.Errorf("Room = %v, want ErrRoom", err)
	}
	if err := s.Take("u1"); !errors.Is(err, ErrRoom) || s.Has("u1") {
		t.Errorf("Take = %v, want ErrRoom", err)
	}
	s.Free = func(string) (int64, error) { return spare + 10, nil }
	if err := errors.Join(s.Room(), s.Take("u1")); err != nil {
		t.Error(err)
	}
}

func TestRestoreNeedsNoRoomForTheFailedData(t *testing.T) {
	s := newStore(t)
	if err := s.Take("u1"); err != nil {
		t.Fatal(err)
	}
	write(t, s.Data, map[string]string{"state.db": "new"})
	s.Free = func(string) (int64, error) { return 0, nil }
	if err := s.Restore("u1"); err != nil {
		t.Fatal(err)
	}
	wantOld(t, s)
}

func TestAnAgentsSnapshotIsEmptyAndChangesNothing(t *testing.T) {
	s := newStore(t)
	if err := os.RemoveAll(s.Data); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Room(), s.Take("u1"), s.Restore("u1")); err != nil || !s.Has("u1") {
		t.Errorf("err = %v, Has = %v", err, s.Has("u1"))
	}
	if _, err := os.Stat(s.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a datastore appeared: %v", err)
	}
}

func TestIDsAreFileNames(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{"", ".", "..", "a/b", "../x", ".x", "a" + partial, "a\x00", strings.Repeat("x", idMax+1)} {
		if s.Has(id) || s.Take(id) == nil || s.Restore(id) == nil {
			t.Errorf("id %q is taken", id)
		}
	}
}
