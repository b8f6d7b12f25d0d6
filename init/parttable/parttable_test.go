package parttable

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/init/gpt"
	"github.com/keelson-os/keelson/init/mbr"
	"github.com/keelson-os/keelson/tests/reftool"
)

const (
	small = 200 << 20 // bytes of the image
	large = 500<<20 + 512
)

// images are the scripts for sfdisk of an image on both kinds of tables.
var images = map[string]string{
	"gpt": "label: gpt\n" +
		"start=32768, size=131072, name=esp, uuid=00000001-0000-4000-8000-000000000000\nsize=2048, name=bootstate\n" +
		"size=65536, name=root-a\nsize=65536, name=root-b\nsize=32768, name=state\n",
	"mbr": "label: dos\nlabel-id: 0x12345678\n" +
		"start=32768, size=131072, type=c\nsize=65536, type=83\nsize=65536, type=83\nsize=32768, type=da\n",
}

// newDisk is an image that was written to a larger disk.
func newDisk(t *testing.T, kind string) *os.File {
	t.Helper()
	sfdisk := reftool.Need(t, "sfdisk", "fdisk")
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(small); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sfdisk, "-q", f.Name())
	cmd.Stdin = strings.NewReader(images[kind])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	if err := f.Truncate(large); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBothKindsGiveTheSameAnswers(t *testing.T) {
	const mib = 1 << 20
	for kind, want := range map[string]struct {
		number int
		offset int64
		id     string
	}{"gpt": {5, 145 * mib, "00000001-0000-4000-8000-000000000000"}, "mbr": {4, 144 * mib, "12345678-01"}} {
		f := newDisk(t, kind)
		table, err := Read(f, large)
		if err != nil {
			t.Errorf("%s: Read = %v", kind, err)
			continue
		}
		n, ok := table.Find("state")
		if n != want.number || !ok {
			t.Errorf("%s: Find(state) = %d, %v, want %d, true", kind, n, ok, want.number)
			continue
		}
		if e, ok := table.FindID(want.id); e != 1 || !ok {
			t.Errorf("%s: FindID(%s) = %d, %v, want 1, true", kind, want.id, e, ok)
		}
		if offset, size := table.Extent(n); offset != want.offset || size != 16*mib {
			t.Errorf("%s: Extent = %d, %d, want %d, 16 MiB", kind, offset, size, want.offset)
		}
		if table.FromBackup() || table.Beyond() != 0 {
			t.Errorf("%s: FromBackup = %v, Beyond = %d", kind, table.FromBackup(), table.Beyond())
		}
		if changed, err := table.Grow(n); !changed || err != nil {
			t.Errorf("%s: Grow = %v, %v, want true, nil", kind, changed, err)
		}
		if _, size := table.Extent(n); size%mib != 0 || large-want.offset-size > 2*mib {
			t.Errorf("%s: grown to %d bytes on a disk of %d", kind, size, large)
		}
	}
}

func TestALifeIsTheOneSetLast(t *testing.T) {
	for kind := range images {
		f := newDisk(t, kind)
		for i, life := range []Life{Fresh, Formatting, Formatted, Formatting, Formatted, Fresh} {
			table, err := Read(f, large)
			if err != nil {
				t.Fatal(err)
			}
			n, ok := table.Find("state")
			if !ok {
				t.Fatalf("%s: no state partition after %d lives", kind, i)
			}
			if i == 0 && table.Life(n) != Fresh {
				t.Errorf("%s: Life of a new image = %d, want Fresh", kind, table.Life(n))
			}
			if _, err := table.Grow(n); err != nil {
				t.Fatal(err)
			}
			table.SetLife(n, life)
			if err := table.Write(f); err != nil {
				t.Fatal(err)
			}
			if table, err = Read(f, large); err != nil || table.Life(n) != life {
				t.Errorf("%s: life %d was set, Read = %v, %v", kind, life, table, err)
			}
		}
		out, err := exec.Command(reftool.Need(t, "sfdisk", "fdisk"), "--verify", f.Name()).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "No errors detected") {
			t.Errorf("%s: sfdisk --verify: %v\n%s", kind, err, out)
		}
	}
}

func TestReadSaysWhichTableIsWrong(t *testing.T) {
	f := newDisk(t, "gpt")
	if _, err := f.WriteAt(make([]byte, 34*512-512), 512); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(f, large); !errors.Is(err, gpt.ErrNone) {
		t.Errorf("GPT, both copies bad: Read = %v, want gpt.ErrNone", err)
	}
	if table, err := Read(f, small); err != nil || !table.FromBackup() {
		t.Errorf("GPT, first copy bad: Read = %v, %v, want the backup", table, err)
	}
	f = newDisk(t, "mbr")
	if _, err := Read(f, 160<<20-512); !errors.Is(err, mbr.ErrNone) {
		t.Errorf("MBR on a smaller disk: Read = %v, want mbr.ErrNone", err)
	}
}
