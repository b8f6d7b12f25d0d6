package wipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/tests/reftool"
)

const size = 200 << 20 // bytes of the disk

// scripts are those for sfdisk of a node's disk.
var scripts = map[string]string{
	"gpt": "label: gpt\nstart=32768, size=65536, name=esp\nstart=30720, size=2048, name=bootstate\n" +
		"start=98304, size=32768, name=root-a\nsize=32768, name=root-b\nsize=65536, name=state\n",
	"mbr": "label: dos\nstart=32768, size=65536, type=c\nsize=32768, type=83\nsize=32768, type=83\nsize=65536, type=83\n",
}

// newDisk is a disk that is full of secrets.
func newDisk(t *testing.T, kind string) (d *Disk, path string, said *strings.Builder) {
	t.Helper()
	sfdisk := reftool.Need(t, "sfdisk", "fdisk")
	path = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte("secret! "), size/8), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sfdisk, "-q", "--wipe", "always", path)
	cmd.Stdin = strings.NewReader(scripts[kind])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	said = &strings.Builder{}
	d, err := Open(path, func(f string, a ...any) { fmt.Fprintf(said, f+"\n", a...) }, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path, said
}

// secrets counts the secrets in bytes [off, off+n) of a file.
func secrets(t *testing.T, path string, off, n int64) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, off, n))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("secret!"))
}

func TestStateIsZerosAndFreshAndNothingElseChanges(t *testing.T) {
	for kind := range scripts {
		d, path, said := newDisk(t, kind)
		table, number, err := d.find("state")
		if err != nil {
			t.Fatal(err)
		}
		table.SetLife(number, parttable.Formatted)
		if err := table.Write(d.f); err != nil {
			t.Fatal(err)
		}
		off, n := table.Extent(number)
		before := secrets(t, path, 0, off)
		if err := d.State(); err != nil {
			t.Fatal(err)
		}
		if got := secrets(t, path, off, n); got != 0 {
			t.Errorf("%s: %d secrets are left in the state partition", kind, got)
		}
		if got := secrets(t, path, 0, off); got != before {
			t.Errorf("%s: %d secrets before the partition, want %d", kind, got, before)
		}
		table, err = parttable.Read(d.f, d.size)
		if err != nil || table.Life(number) != parttable.Fresh {
			t.Errorf("%s: life %v, %v, want Fresh", kind, table, err)
		}
		if !strings.Contains(said.String(), "wiped: state partition") {
			t.Errorf("%s: said %q", kind, said)
		}
	}
}

func TestAStateThatWasCutShortIsFormattedAnew(t *testing.T) {
	d, _, _ := newDisk(t, "gpt")
	d.alive = func() { panic("power cut") }
	func() {
		defer func() { recover() }()
		d.State()
	}()
	table, number, err := d.find("state")
	if err != nil || table.Life(number) != parttable.Formatting {
		t.Errorf("life %v, %v, want Formatting: blank and Formatted would be a failing disk", table.Life(number), err)
	}
}

func TestAllLeavesNothing(t *testing.T) {
	for kind := range scripts {
		for _, booted := range []string{"a", "b"} {
			d, path, said := newDisk(t, kind)
			table, number, err := d.find("state")
			if err != nil {
				t.Fatal(err)
			}
			off, n := table.Extent(number)
			if err := d.All(booted); err != nil {
				t.Fatal(err)
			}
			// What lies between the last partition and the table's copy was never a node's.
			if got := secrets(t, path, 0, off+n); got != 0 {
				t.Errorf("%s: %d secrets are left", kind, got)
			}
			if _, err := parttable.Read(d.f, d.size); err == nil {
				t.Errorf("%s: the partition table is left", kind)
			}
			a, b := strings.Index(said.String(), "root-a"), strings.Index(said.String(), "root-b")
			if a < 0 || b < 0 || (a > b) != (booted == "a") {
				t.Errorf("%s: the root that runs has to be last: said %q", kind, said)
			}
		}
	}
}

// The places are those where mke2fs puts superblocks.
func TestHeadsCoverEverySuperblock(t *testing.T) {
	mke2fs := reftool.Need(t, "mke2fs", "e2fsprogs")
	for _, c := range []struct{ size, block int64 }{{200 << 20, 1024}, {40 << 30, 4096}} {
		path := filepath.Join(t.TempDir(), "fs")
		f, err := os.Create(path)
		if err == nil {
			err = errors.Join(f.Truncate(c.size), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(mke2fs, "-n", "-F", "-t", "ext4", "-b", fmt.Sprint(c.block), path).CombinedOutput()
		if err != nil {
			t.Fatalf("mke2fs: %v\n%s", err, out)
		}
		_, list, ok := strings.Cut(string(out), "Superblock backups stored on blocks:")
		if !ok {
			t.Fatalf("mke2fs says no superblocks:\n%s", out)
		}
		places := heads(c.size)
		n := 0
		for word := range strings.FieldsSeq(strings.ReplaceAll(list, ",", " ")) {
			var block int64
			if _, err := fmt.Sscan(word, &block); err != nil {
				t.Fatal(err)
			}
			n++
			at := block * c.block
			if !slices.ContainsFunc(places, func(p int64) bool { return p <= at && at+c.block <= p+headSize }) {
				t.Errorf("%d bytes: no place for the superblock at %d", c.size, at)
			}
		}
		if n < 5 {
			t.Errorf("%d bytes: mke2fs lists %d superblocks", c.size, n)
		}
	}
}

func TestFilesAreOverwrittenInPlace(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("secret! ", 300_000)
	for _, name := range []string{"a/key", "b/c/key", "b/link"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if name == "b/link" {
			err = os.Symlink("/etc/hostname", path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o400)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := Files(t.Context(), filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "none"))
	if n != 2 || err != nil {
		t.Errorf("Files = %d, %v, want 2", n, err)
	}
	for _, name := range []string{"a/key", "b/c/key"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err != nil || info.Size() != int64(len(text)) || secrets(t, path, 0, info.Size()) != 0 {
			t.Errorf("%s: %v, %v, want the same length and no secret", name, info, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := Files(ctx, dir); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Files with a context that is done = %d, %v", n, err)
	}
}
