package uefi

import "testing"

func FuzzUKI(f *testing.F) {
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u uki
		if err := u.read(b, AMD64); err == nil && (u.cmdline == "" || !u.initrd) {
			t.Errorf("taken: %+v", u)
		}
	})
}
