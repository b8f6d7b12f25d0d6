package efivar

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf16"
)

func variable(t *testing.T, dir, name, value string) {
	t.Helper()
	b := []byte{6, 0, 0, 0}
	for _, u := range append(utf16.Encode([]rune(value)), 0) {
		b = append(b, byte(u), byte(u>>8))
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+loaderGUID), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVariablesOfTheBootLoader(t *testing.T) {
	dir := t.TempDir()
	if _, err := DevicePartUUID(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DevicePartUUID without the variable = %v, want fs.ErrNotExist", err)
	}
	variable(t, dir, "LoaderDevicePartUUID", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	if got, err := DevicePartUUID(dir); got != "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" || err != nil {
		t.Errorf("DevicePartUUID = %q, %v", got, err)
	}
	variable(t, dir, "LoaderTimeInitUSec", "1500000")
	variable(t, dir, "LoaderTimeExecUSec", "1750000")
	if f, l, err := Times(dir); f != 1500*time.Millisecond || l != 250*time.Millisecond || err != nil {
		t.Errorf("Times = %v, %v, %v, want 1.5s, 250ms", f, l, err)
	}
	variable(t, dir, "LoaderTimeExecUSec", "1")
	if _, _, err := Times(dir); err == nil {
		t.Error("Times that run backwards are no error")
	}
	variable(t, dir, "LoaderTimeExecUSec", "soon")
	if _, _, err := Times(dir); err == nil {
		t.Error("a time that is no number is no error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{6, 0, 0, 0, 'a', 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decode(b); err == nil && len(b) < 4 {
			t.Errorf("decode(%x) = %q", b, s)
		}
	})
}
