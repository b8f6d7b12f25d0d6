package drive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

func TestCheckRefusesByName(t *testing.T) {
	good := Disk{Path: "/dev/sdb", Size: 8 << 30, SectorSize: 512, Model: "SanDisk Ultra", Bus: "usb", Removable: true}
	for _, tt := range []struct {
		name   string
		change func(*Disk)
		why    Refusal // "": cannot be overruled
		want   string
	}{
		{"good", func(*Disk) {}, "", ""},
		{"mounted", func(d *Disk) {
			d.Uses = []Use{{Mounted, "/a (/dev/sdb1)", "/a"}, {Mounted, "/b (/dev/sdb2)", "/b"}}
		}, Mounted, "/a (/dev/sdb1), /b (/dev/sdb2)"},
		{"system", func(d *Disk) { d.Uses = []Use{{System, "/ (/dev/sdb1)", "/"}} }, System, "running system"},
		{"system before mounted", func(d *Disk) { d.Uses = []Use{{Mounted, "/a", "/a"}, {System, "/", "/"}} }, System, "running system"},
		{"in use", func(d *Disk) { d.Uses = []Use{{InUse, "vg0-root (/dev/sdb2)", ""}} }, InUse, "vg0-root"},
		{"built in", func(d *Disk) { d.Removable = false }, NotRemovable, "SanDisk Ultra, usb"},
		{"partition", func(d *Disk) { d.Part, d.PartSize = "/dev/sdb1", 1<<30 }, NotWhole, "give /dev/sdb"},
		{"read-only", func(d *Disk) { d.ReadOnly = true }, "", "read-only"},
		{"no medium", func(d *Disk) { d.Size = 0 }, "", "no medium"},
		{"4Kn", func(d *Disk) { d.SectorSize = 4096 }, "", "sectors of 4096 bytes"},
		{"too small", func(d *Disk) { d.Size = 1 << 20 }, "", "too small"},
	} {
		d := good
		tt.change(&d)
		err := d.Check(1<<29, nil)
		var refused *RefusedError
		switch {
		case tt.want == "":
			if err != nil {
				t.Errorf("%s: Check = %v", tt.name, err)
			}
			continue
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: Check = %v, want %q", tt.name, err, tt.want)
			continue
		}
		if tt.why == "" {
			if err := d.Check(1<<29, Refusals()); err == nil {
				t.Errorf("%s: Check with everything allowed = nil, want an error", tt.name)
			}
			continue
		}
		if !errors.As(err, &refused) || refused.Why != tt.why {
			t.Errorf("%s: Check = %v, want the refusal %q", tt.name, err, tt.why)
		}
		if err := d.Check(1<<29, []Refusal{tt.why}); tt.name != "system before mounted" && err != nil {
			t.Errorf("%s: Check with it allowed = %v", tt.name, err)
		}
	}
	small := good
	small.Part, small.PartSize = "/dev/sdb1", 1<<20
	if err := small.Check(1<<29, []Refusal{NotWhole}); err == nil || !strings.Contains(err.Error(), "/dev/sdb1 is too small") {
		t.Errorf("a small partition, allowed: Check = %v", err)
	}
}

func TestFilesTakeADisksPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	d, err := Find(t.Context(), path)
	if err != nil || !d.IsFile() || d.Size != 0 {
		t.Fatalf("Find of a new file = %+v, %v", d, err)
	}
	if err := d.Check(1<<20, nil); err != nil {
		t.Errorf("Check of a new file = %v", err)
	}
	dev, err := d.Open(t.Context(), 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<20 || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("the new file: %v, %v", st, err)
	}
	// Through and past the cache, at places of all kinds.
	buf := Buffer(64 << 10)
	for i := range buf {
		buf[i] = byte(i * 7)
	}
	for _, span := range []struct{ at, n int }{{0, 64 << 10}, {4096, 4096}, {512, 512}, {1<<20 - 4096, 4096}, {1<<20 - 512, 512}, {3, 5}} {
		if _, err := dev.WriteAt(buf[:span.n], int64(span.at)); err != nil {
			t.Fatal(err)
		}
		if err := dev.Sync(); err != nil {
			t.Fatal(err)
		}
		got := Buffer(span.n)
		if _, err := dev.ReadAt(got, int64(span.at)); err != nil || !bytes.Equal(got, buf[:span.n]) {
			t.Errorf("%d bytes at %d: read other ones, %v", span.n, span.at, err)
		}
	}
	if _, err := dev.WriteAt(buf[:4096], 1<<20-512); err == nil {
		t.Error("a write over the end = nil, want an error")
	}
	if ok, err := dev.Blank(); !ok || err != nil {
		t.Errorf("Blank = %v, %v", ok, err)
	}
	got := Buffer(4096)
	if _, err := dev.ReadAt(got, 0); err != nil || len(bytes.Trim(got, "\x00")) != 0 {
		t.Errorf("a blank file has other bytes than zeros, %v", err)
	}
	if err := dev.Zero(0, 4096); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Zero of a file = %v, want errors.ErrUnsupported", err)
	}

	if d, err = Find(t.Context(), path); err != nil || d.Size != 1<<20 {
		t.Errorf("Find of the file = %+v, %v", d, err)
	}
	if err := d.Check(2<<20, nil); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("Check of a small file = %v", err)
	}
	if _, err := Find(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("Find of a folder = %v", err)
	}
}

func TestAMistypedDiskIsNotMadeAsAFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no /dev")
	}
	for _, path := range []string{"/dev/sdthereisnone", "/dev/../dev/sdthereisnone"} {
		if d, err := Find(t.Context(), path); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%s) = %+v, %v, want ErrNotFound", path, d, err)
		}
	}
}

func TestBufferIsAligned(t *testing.T) {
	for _, n := range []int{1, 512, 4096, 1 << 20} {
		b := Buffer(n)
		if len(b) != n || cap(b) != n || uintptr(unsafe.Pointer(&b[0]))%align != 0 {
			t.Errorf("Buffer(%d): length %d, capacity %d, or not aligned", n, len(b), cap(b))
		}
	}
}

func TestThisComputersDisksAreListed(t *testing.T) {
	disks, err := List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if d.Path == "" || d.Size <= 0 || d.SectorSize < 512 {
			t.Errorf("%+v", d)
		}
		if runtime.GOOS == "linux" {
			if got, err := Find(context.Background(), d.Path); err != nil || got.Path != d.Path || got.Size != d.Size {
				if !errors.Is(err, os.ErrNotExist) { // a container may lack the device files
					t.Errorf("Find(%s) = %+v, %v", d.Path, got, err)
				}
			}
		}
	}
}
