package blockdev

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

var (
	_ bootcontrol.Disk        = (*Disk)(nil)
	_ bootcontrol.Invalidator = (*Disk)(nil)
)

func disk(t *testing.T) (*Disk, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func TestWhatIsWrittenIsReadBackWithoutTheCache(t *testing.T) {
	d, path := disk(t)
	if d.Size() != 1<<20 {
		t.Errorf("Size = %d, want %d", d.Size(), 1<<20)
	}
	want := bytes.Repeat([]byte("keelson "), 1000)
	if _, err := d.WriteAt(want, 12345); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := d.Invalidate(12345, int64(len(want))); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := d.ReadAt(got, 12345); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back %.20q, %v", got, err)
	}
	r, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt of a disk opened for reading = nil, want an error")
	}
}

func TestWritesBehindTheEndAreRefused(t *testing.T) {
	d, path := disk(t)
	for _, off := range []int64{-1, 1<<20 - 1, 1 << 20, 1 << 40} {
		if _, err := d.WriteAt([]byte("xy"), off); err == nil {
			t.Errorf("WriteAt(2 bytes at %d) = nil, want an error", off)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<20 {
		t.Errorf("the disk has %d bytes now, %v", st.Size(), err)
	}
}

func TestOpenOfNoDiskIsAPathError(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	var p *fs.PathError
	if !errors.As(err, &p) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want a *fs.PathError of fs.ErrNotExist", err)
	}
}
