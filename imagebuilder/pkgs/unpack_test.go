package pkgs

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func archive(t *testing.T, hs ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestExtractStaysInItsFolder(t *testing.T) {
	outside := t.TempDir()
	for _, c := range []struct {
		name string
		hs   []tar.Header
	}{
		{"dots", []tar.Header{{Name: "../evil", Typeflag: tar.TypeReg, Mode: 0o644}}},
		{"through a link", []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "l/evil", Typeflag: tar.TypeReg, Mode: 0o644}}},
		{"hard link out", []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}}},
		{"device", []tar.Header{{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := extract(root, archive(t, c.hs...)); err == nil {
				t.Error("extract = nil, want an error")
			}
			for _, d := range []string{outside, filepath.Dir(dir)} {
				if _, err := os.Lstat(filepath.Join(d, "evil")); err == nil {
					t.Errorf("a file was written to %s", d)
				}
			}
		})
	}
}

func TestExtractSetsModesWhateverTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := extract(root, archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./bin/su", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "./etc/shadow", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "./bin/sg", Typeflag: tar.TypeSymlink, Linkname: "su"},
		tar.Header{Name: "./bin/hard", Typeflag: tar.TypeLink, Linkname: "./bin/su"})); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"bin/su": 0o755, "etc/shadow": 0o644, "bin/sg": 0o755, "bin/hard": 0o755} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if fi.Mode() != want {
			t.Errorf("mode of %s = %v, want %v", name, fi.Mode(), want)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add([]byte("not a tar archive"))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "../../x", Typeflag: tar.TypeReg, Size: 1, Mode: 0o644})
	w.Write([]byte("x"))
	w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := extract(root, bytes.NewReader(data)); err == nil {
			t.Log("extracted")
		}
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Errorf("the parent folder has %v, %v, want in alone", entries, err)
		}
	})
}
