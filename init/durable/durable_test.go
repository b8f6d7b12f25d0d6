package durable

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileReplacesWholeAndLeavesNothingBeside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"old", "newer"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("ReadFile = %q, %v, want %q", b, err, text)
		}
	}
	// A folder in the way is an error, not a loss.
	other := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(other, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(other, []byte("x"), 0o600); err == nil {
		t.Error("WriteFile over a folder = nil, want an error")
	}
}

func TestOverwriteWritesZerosOfTheFirstBytesAndKeepsTheSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, c := range []struct{ size, most, zeros int }{{0, 10, 0}, {5, 10, 5}, {chunk + 7, 1 << 30, chunk + 7}, {chunk + 7, chunk + 1, chunk + 1}} {
		if err := os.WriteFile(path, bytes.Repeat([]byte{7}, c.size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Overwrite(path, int64(c.most)); err != nil {
			t.Fatal(err)
		}
		want := append(make([]byte, c.zeros), bytes.Repeat([]byte{7}, c.size-c.zeros)...)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Overwrite of %d of %d bytes: %d bytes, %v, want %d of them zero", c.most, c.size, len(got), err, c.zeros)
		}
	}
}
