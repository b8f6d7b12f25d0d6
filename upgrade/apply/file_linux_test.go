package apply

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/blockdev"
)

// TestUpgradeOfADiskThatIsAFileFromABundleThatIsOne uses what a node has instead of memory.
func TestUpgradeOfADiskThatIsAFileFromABundleThatIsOne(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		dir := t.TempDir()
		image, file := filepath.Join(dir, "disk"), filepath.Join(dir, "x.keelson")
		if err := os.WriteFile(image, l.base, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, makeBundle(t, l.two, nil, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := blockdev.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		src, err := OpenFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := l.system()
		s.Disk = d
		r, err := Run(t.Context(), src, s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := Arm(s, r); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		for _, fw := range l.chain.Firmwares() {
			if got, err := smallsystem.Boots(fw, disk.NewOverlay(f), l.one, l.two); err != nil || got != l.two {
				t.Errorf("%s boots %v, %v, want system two", fw.Name, got, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
