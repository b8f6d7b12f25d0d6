package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestMinFreeGrowsWithTheRootOfMemory(t *testing.T) {
	for _, c := range []struct {
		gib  uint64
		want string
	}{{0, "8192"}, {1, "8192"}, {4, "16384"}, {16, "32768"}, {1024, "65536"}} {
		if got := MinFree(c.gib << 20); got.Value != c.want {
			t.Errorf("MinFree of %d GiB = %s, want %s", c.gib, got.Value, c.want)
		}
	}
}

func TestApplyGoesOnAfterAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "vm"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vm", "b"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Apply(dir, []Setting{{"net.none", "1"}, {"vm.b", "2"}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Apply = %v, want fs.ErrNotExist for net.none", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "vm", "b")); err != nil || string(got) != "2" {
		t.Errorf("vm.b = %q, %v, want 2", got, err)
	}
}
