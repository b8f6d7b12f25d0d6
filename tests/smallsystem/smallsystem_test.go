package smallsystem

import (
	"bytes"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
)

func TestNewDiskBootsItsSystemOnEveryFirmware(t *testing.T) {
	for _, c := range Chains {
		t.Run(string(c), func(t *testing.T) {
			s := New(t, c, "one", Plain())
			b := Disk(t, c, s)
			if len(c.Firmwares()) == 0 {
				t.Fatal("no firmware")
			}
			for _, f := range c.Firmwares() {
				if got, err := Boots(f, disk.NewOverlay(bytes.NewReader(b)), s); err != nil || got != s {
					t.Errorf("Boots = %v, %v", got, err)
				}
			}
		})
	}
}

func TestOneWrongBitIsSeen(t *testing.T) {
	for _, c := range Chains {
		s := New(t, c, "one", Plain())
		other := New(t, c, "two", Plain())
		b := Disk(t, c, s)
		for _, at := range []int64{RootA + 5, RootA + int64(len(s.Root)) - 1 - blockSize*3/2} {
			for _, f := range c.Firmwares() {
				d := disk.NewOverlay(bytes.NewReader(b))
				if _, err := d.WriteAt([]byte{b[at] ^ 1}, at); err != nil {
					t.Fatal(err)
				}
				if got, err := Boots(f, d, s); err == nil {
					t.Errorf("%s, %s: bit at %d of the disk: Boots = %s, want an error", c, f.Name, at, got.Name)
				}
			}
		}
		for _, f := range c.Firmwares() {
			if got, err := Boots(f, disk.NewOverlay(bytes.NewReader(b)), other); err == nil {
				t.Errorf("%s, %s: Boots = %s, want an error: it has the boot files of another system", c, f.Name, got.Name)
			}
		}
	}
}
