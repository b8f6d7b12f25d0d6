package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"

	"github.com/keelson-os/keelson/tests/reftool"
)

// TestReferenceToolsAcceptWhatWeWrote shows the image as the builder wrote it, and the
// disk after a first boot and a clean power off, to the tools that define the formats.
func TestReferenceToolsAcceptWhatWeWrote(t *testing.T) {
	t.Run("fresh image", func(t *testing.T) { acceptDisk(t, lab.Image, false) })
	t.Run("after a boot", func(t *testing.T) {
		ctx, n := story(t, nil)
		up(t, ctx, n)
		limit, cancel := within(ctx, 90*time.Second, "the shutdown")
		defer cancel()
		if err := n.Powerdown(limit); err != nil {
			t.Fatal(err)
		}
		raw := filepath.Join(t.TempDir(), "disk.raw")
		if _, err := harness.Check(reftool.Need(t, "qemu-img", "qemu-utils"), "convert", "-f", "qcow2", "-O", "raw", filepath.Join(n.Dir(), "disk.qcow2"), raw); err != nil {
			t.Fatal(err)
		}
		acceptDisk(t, raw, true)
	})
}

// acceptDisk checks a raw disk. After a boot the last partition has grown and is larger
// than the builder's manifest says.
func acceptDisk(t *testing.T, disk string, booted bool) {
	dir := t.TempDir()
	extract := func(t *testing.T, name string) string {
		t.Helper()
		p, err := lab.Info.Partition(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "state" && booted {
			st, err := os.Stat(disk)
			if err != nil {
				t.Fatal(err)
			}
			p.Size = st.Size() - p.Offset
		}
		to := filepath.Join(dir, name)
		if err := harness.Extract(disk, to, p.Offset, p.Size); err != nil {
			t.Fatal(err)
		}
		return to
	}
	check := func(t *testing.T, path string, args ...string) string {
		t.Helper()
		out, err := harness.Check(path, args...)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	t.Run("sgdisk", func(t *testing.T) {
		if out := check(t, reftool.Need(t, "sgdisk", "gdisk"), "-v", disk); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v says:\n%s", out)
		}
	})
	t.Run("fsck.vfat", func(t *testing.T) {
		check(t, reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", extract(t, "esp"))
	})
	t.Run("e2fsck", func(t *testing.T) {
		if !booted {
			return // the first boot makes this file system
		}
		check(t, reftool.Need(t, "e2fsck", "e2fsprogs"), "-fn", extract(t, "state"))
	})
	t.Run("root", func(t *testing.T) {
		root := extract(t, "root-a")
		if strings.HasPrefix(lab.Info.Root.Format, "squashfs") {
			// Reading everything, writing nothing.
			check(t, reftool.Need(t, "unsquashfs", "squashfs-tools"), "-quiet", "-no-progress", "-pf", os.DevNull, root)
		} else {
			check(t, reftool.Need(t, "fsck.erofs", "erofs-utils"), root)
		}
	})
	t.Run("veritysetup", func(t *testing.T) {
		veritysetup := reftool.Need(t, "veritysetup", "cryptsetup-bin")
		root := filepath.Join(dir, "root-a")
		if _, err := os.Stat(root); err != nil {
			root = extract(t, "root-a")
		}
		var offset string
		for arg := range strings.FieldsSeq(lab.Info.Cmdline) {
			if v, ok := strings.CutPrefix(arg, "keelson.verity="); ok {
				offset = strings.Split(v+"::", ":")[1]
			}
		}
		check(t, veritysetup, "verify", root, root, lab.Info.RootHash, "--hash-offset="+offset)
	})
}
