package state

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/tests/reftool"
)

func TestContentOf(t *testing.T) {
	fs := make([]byte, 4096)
	binary.LittleEndian.PutUint16(fs[offMagic:], magic)
	foreign := make([]byte, blankSize)
	foreign[blankSize-1] = 1
	for _, c := range []struct {
		name string
		in   []byte
		want content
	}{
		{"blank", make([]byte, blankSize), blank},
		{"ext4", fs, ext4},
		{"one byte at the end", foreign, other},
		{"short and blank", make([]byte, 100), blank},
		{"short and used", []byte{1}, other},
	} {
		if got := contentOf(c.in); got != c.want {
			t.Errorf("%s: contentOf = %d, want %d", c.name, got, c.want)
		}
	}
}

func TestOnlyWhatNeverHadAFileSystemIsFormatted(t *testing.T) {
	for _, c := range []struct {
		name       string
		what       content
		life       parttable.Life
		format, ok bool
	}{
		{"as the image builder left it", blank, parttable.Fresh, true, true},
		{"format cut short", other, parttable.Formatting, true, true},
		{"format cut short before it began", blank, parttable.Formatting, true, true},
		{"in use", ext4, parttable.Formatted, false, true},
		{"in use since before formats were remembered", ext4, parttable.Fresh, false, true},
		{"start overwritten", other, parttable.Formatted, false, true},
		{"start reads as zeros", blank, parttable.Formatted, false, false},
	} {
		format, err := mayFormat(c.what, c.life)
		if format != c.format || (err == nil) != c.ok {
			t.Errorf("%s: mayFormat = %v, %v, want %v, ok %v", c.name, format, err, c.format, c.ok)
		}
	}
}

func TestSizeOfARealFileSystem(t *testing.T) {
	mke2fs := reftool.Need(t, "mke2fs", "e2fsprogs")
	path := filepath.Join(t.TempDir(), "fs")
	const size = 64 << 20
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if what, err := look(path); what != blank || err != nil {
		t.Errorf("look at zeros = %d, %v, want blank", what, err)
	}
	if out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if what, err := look(path); what != ext4 || err != nil {
		t.Errorf("look = %d, %v, want ext4", what, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fsSize(b[:2048]); got != size || err != nil {
		t.Errorf("fsSize = %d, %v, want %d", got, err, size)
	}
}

func FuzzSize(f *testing.F) {
	fs := make([]byte, 2048)
	binary.LittleEndian.PutUint16(fs[offMagic:], magic)
	f.Add(fs)
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := fsSize(b); err == nil && n < 0 {
			t.Errorf("fsSize = %d", n)
		}
		complaint(b)
	})
}

func TestComplaint(t *testing.T) {
	out := "e2fsck 1.47.2 (1-Jan-2025)\ne2fsck: Superblock invalid, trying backup blocks...\n" +
		"e2fsck: Bad magic number in super-block while trying to open /dev/vda5\n\nThe superblock could not be read\n    e2fsck -b 8193 <device>\n"
	if got, want := complaint([]byte(out)), "Bad magic number in super-block while trying to open /dev/vda5"; got != want {
		t.Errorf("complaint = %q, want %q", got, want)
	}
}

func TestMachineIDIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := MachineID(dir)
	if err != nil || !validID(first) {
		t.Fatalf("MachineID = %q, %v", first, err)
	}
	if again, err := MachineID(dir); again != first || err != nil {
		t.Errorf("second MachineID = %q, %v, want %q", again, err, first)
	}
	path := filepath.Join(dir, "machine-id")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(first[:10]), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := MachineID(dir); !validID(id) || id == first || err != nil {
		t.Errorf("MachineID over a file cut short = %q, %v, want a new one", id, err)
	}
}

// A restart does not empty a full disk: it would only repeat.
func TestAFullPartitionCountsAsWritable(t *testing.T) {
	if err := writeThrough("/dev/full"); err != nil {
		t.Errorf("on a full disk: %v, want nil", err)
	}
	if err := writeThrough(filepath.Join(t.TempDir(), "health")); err != nil {
		t.Errorf("on a good disk: %v", err)
	}
	if err := writeThrough(filepath.Join(t.TempDir(), "none", "health")); err == nil {
		t.Error("in a folder that is not there: nil")
	}
}
