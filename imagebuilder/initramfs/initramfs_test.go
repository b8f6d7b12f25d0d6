package initramfs

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/keelson-os/keelson/imagebuilder/tree"

	"github.com/keelson-os/keelson/tests/reftool"
)

// sample returns a tree with one entry of each kind, added from a new folder.
func sample(t *testing.T) *tree.Tree {
	t.Helper()
	file := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(file, bytes.Repeat([]byte("program "), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for _, err := range []error{
		tr.AddFile("init", 0o755, file, tree.Origin{}),
		tr.AddData("etc/initrd-release", 0o644, []byte("ID=keelson\n"), tree.Origin{}),
		tr.AddLink("lib", "usr/lib", tree.Origin{}),
		tr.AddDir("usr/lib/modules", 0o755, tree.Origin{}),
		tr.Add(tree.Entry{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestInitramfsIsTheSameBytesAndReadBack(t *testing.T) {
	var one, two bytes.Buffer
	if err := Write(&one, sample(t)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&two, sample(t)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two archives of one content differ")
	}
	z, err := zstd.NewReader(&one)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]cpio.Info{}
	for _, r := range records {
		got[r.Name] = r.Info
		if r.UID != 0 || r.GID != 0 || r.MTime != 0 {
			t.Errorf("%s: owner %d:%d, time %d, want zeros", r.Name, r.UID, r.GID, r.MTime)
		}
	}
	for name, mode := range map[string]uint64{"init": cpio.S_IFREG | 0o755, "etc": cpio.S_IFDIR | 0o755, "etc/initrd-release": cpio.S_IFREG | 0o644,
		"lib": cpio.S_IFLNK | 0o777, "usr/lib/modules": cpio.S_IFDIR | 0o755, "dev/console": cpio.S_IFCHR | 0o600} {
		if got[name].Mode != mode {
			t.Errorf("mode of %s = %o, want %o", name, got[name].Mode, mode)
		}
	}
	if c := got["dev/console"]; c.Rmajor != 5 || c.Rminor != 1 {
		t.Errorf("dev/console is %d:%d, want 5:1", c.Rmajor, c.Rminor)
	}
	if n := got["init"].FileSize; n != 800_000 {
		t.Errorf("init has %d bytes, want 800000", n)
	}
	checkWithCPIO(t, data)
}

// checkWithCPIO has the reference tool list the archive.
func checkWithCPIO(t *testing.T, data []byte) {
	cmd := exec.Command(reftool.Need(t, "cpio", "cpio"), "--list", "--quiet")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.CombinedOutput()
	if want := "dev\netc\nusr\nusr/lib\nusr/lib/modules\ndev/console\netc/initrd-release\ninit\nlib\n"; err != nil || string(out) != want {
		t.Errorf("cpio --list = %q, %v, want %q", out, err, want)
	}
}

func TestMissingContentIsAnError(t *testing.T) {
	tr := tree.New()
	if err := tr.AddFile("init", 0o755, filepath.Join(t.TempDir(), "init"), tree.Origin{}); err != nil {
		t.Fatal(err)
	}
	if err := Write(io.Discard, tr); err == nil || !strings.Contains(err.Error(), "write init to the initramfs") {
		t.Errorf("Write = %v, want an error that names init", err)
	}
}
