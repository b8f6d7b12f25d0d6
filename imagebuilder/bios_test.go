package imagebuilder

import (
	"testing"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
)

func TestBoardsWithABIOSHavePlaceForItsLoader(t *testing.T) {
	seen := 0
	for _, name := range boards.List() {
		b, err := boards.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if b.BIOS == "" {
			continue
		}
		seen++
		d, err := biosDisk(b)
		if err != nil {
			t.Errorf("board %s: %v", name, err)
			continue
		}
		// A core image may have 452 KiB, see package grub.
		if d.Core < 34*512 || d.Room < 452<<10 || d.Core+d.Room > grubenv.StateSector*512 || d.ESP == 0 || d.BootState == 0 || d.RootA == 0 || d.RootB == 0 {
			t.Errorf("board %s: %+v", name, d)
		}
	}
	if seen == 0 {
		t.Error("no board has a loader for a BIOS")
	}
}

func TestABoardWithABIOSNeedsAPartitionForIt(t *testing.T) {
	b := &boards.Board{Name: "x", BIOS: boards.BIOSGRUB, Partitions: []boards.Partition{{Name: "esp"}, {Name: "bios"}}}
	if d, err := biosDisk(b); err == nil {
		t.Errorf("biosDisk = %+v, want an error: the partition has no place", d)
	}
}
