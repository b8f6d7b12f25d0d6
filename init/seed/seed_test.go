package seed

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestASeedIsTakenOnce(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, credited))
	if err != nil || len(first) != size+32 {
		t.Fatalf("seed of %d bytes, %v, want %d", len(first), err, size+32)
	}
	got, err := take(dir, credited)
	if err != nil || !bytes.Equal(got, first) {
		t.Fatalf("take = %x, %v", got, err)
	}
	if _, err := take(dir, credited); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second take = %v, want fs.ErrNotExist", err)
	}
	if err := Save(dir); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(filepath.Join(dir, credited)); err != nil || bytes.Equal(first, second) {
		t.Errorf("second seed equals the first, or %v", err)
	}
}
