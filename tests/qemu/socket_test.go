package qemu

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTheControlSocketsAddressIsAsShortAsItGets(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	long := filepath.Join(dir, strings.Repeat("long", 20))
	for want, in := range map[string]string{
		filepath.Join(strings.Repeat("long", 20), socketName): long,
		socketName: dir,
	} {
		if got, err := shortAddress(in); err != nil || got != want {
			t.Errorf("shortAddress(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
	if got, err := shortAddress(filepath.Join(long, long)); err == nil {
		t.Errorf("shortAddress = %q, nil, want an error", got)
	}
}
