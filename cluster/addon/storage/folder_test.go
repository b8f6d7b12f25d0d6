package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func noMounts(string) ([]string, error) { return nil, nil }

func mkdir(t *testing.T, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(p, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.WriteFile(p, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func link(t *testing.T, target string, path ...string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(path...)); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, path ...string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func exists(path ...string) bool {
	_, err := os.Lstat(filepath.Join(path...))
	return err == nil
}

func TestMakeFolderGivesUpstreamsModes(t *testing.T) {
	base := filepath.Join(t.TempDir(), "not", "there")
	for _, below := range []string{"pvc-1_ns_data", "ns/data", "ns/data2/deep"} {
		for range 2 { // again after a crash
			if err := makeFolder(base, below); err != nil {
				t.Fatalf("makeFolder(%s) = %v", below, err)
			}
		}
		if got := mode(t, base, below); got != 0o777 {
			t.Errorf("mode of %s = %o, want 777", below, got)
		}
		if got := mode(t, base, filepath.Dir(below)); got != 0o700 {
			t.Errorf("mode above %s = %o, want 700", below, got)
		}
	}
}

func TestMakeFolderAfterACrashBeforeTheMode(t *testing.T) {
	base := t.TempDir()
	mkdir(t, base, "pvc-1_ns_data")
	if err := makeFolder(base, "pvc-1_ns_data"); err != nil || mode(t, base, "pvc-1_ns_data") != 0o777 {
		t.Errorf("makeFolder = %v, mode %o, want 777", err, mode(t, base, "pvc-1_ns_data"))
	}
}

func TestMakeFolderTakesOldDataAsItIs(t *testing.T) {
	base := t.TempDir()
	old := mkdir(t, base, "ns", "data")
	file := write(t, old, "file")
	if err := os.Chmod(old, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(base, "ns/data"); err != nil || mode(t, old) != 0o750 || !exists(file) {
		t.Errorf("makeFolder = %v, mode %o, want 750 and the file", err, mode(t, old))
	}
}

func TestMakeFolderFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	before := mode(t, outside)
	for name, prepare := range map[string]func(base string){
		"in place of the volume":        func(base string) { mkdir(t, base, "ns"); link(t, outside, base, "ns", "data") },
		"in place of the parent":        func(base string) { link(t, outside, base, "ns") },
		"to another folder of the base": func(base string) { mkdir(t, base, "other"); link(t, "other", base, "ns") },
		"dangling":                      func(base string) { mkdir(t, base, "ns"); link(t, "nowhere", base, "ns", "data") },
		"a file":                        func(base string) { mkdir(t, base, "ns"); write(t, base, "ns", "data") },
	} {
		base := t.TempDir()
		prepare(base)
		if err := makeFolder(base, "ns/data"); !errors.As(err, new(refusal)) {
			t.Errorf("link %s: makeFolder = %v, want a refusal", name, err)
		}
		if exists(base, "other", "data") || exists(outside, "data") || exists(base, "nowhere") || mode(t, outside) != before {
			t.Errorf("link %s: something changed behind it", name)
		}
	}
}

func TestRemoveFolderLeavesWhatLinksPointTo(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	file := write(t, outside, "file")
	volume := mkdir(t, base, "pvc-1_ns_data")
	mkdir(t, volume, "a", "b")
	link(t, outside, volume, "folder")
	link(t, file, volume, "a", "file")
	link(t, "/", volume, "a", "b", "root")
	link(t, "../..", volume, "a", "up")
	neighbour := write(t, mkdir(t, base, "pvc-2_ns_data"), "file")
	for range 2 { // what is not there is removed
		if err := removeFolder(base, "pvc-1_ns_data", noMounts); err != nil {
			t.Fatal(err)
		}
	}
	if exists(volume) {
		t.Error("the volume is still there")
	}
	if !exists(file) || !exists(neighbour) {
		t.Error("a file outside the volume is gone")
	}
}

func TestRemoveFolderRefusesLinksInThePathAndWhatIsNoFolder(t *testing.T) {
	for name, prepare := range map[string]func(base, outside string){
		"in place of the volume":          func(base, outside string) { mkdir(t, base, "ns"); link(t, outside, base, "ns", "data") },
		"in place of the parent, outside": func(base, outside string) { mkdir(t, outside, "data"); link(t, outside, base, "ns") },
		"in place of the parent, inside": func(base, outside string) {
			mkdir(t, base, "other", "data")
			link(t, "other", base, "ns")
		},
		"a file": func(base, outside string) { mkdir(t, base, "ns"); write(t, base, "ns", "data") },
		"a fifo": func(base, outside string) {
			if err := syscall.Mkfifo(filepath.Join(mkdir(t, base, "ns"), "data"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		base, outside := t.TempDir(), t.TempDir()
		file := write(t, outside, "file")
		prepare(base, outside)
		if err := removeFolder(base, "ns/data", noMounts); !errors.As(err, new(refusal)) {
			t.Errorf("%s: removeFolder = %v, want a refusal", name, err)
		}
		if !exists(base, "ns", "data") || !exists(file) {
			t.Errorf("%s: something is gone", name)
		}
	}
}

func TestRemoveFolderOfABaseBehindALink(t *testing.T) {
	disk, dir := t.TempDir(), t.TempDir()
	volume := mkdir(t, disk, "pvc-1_ns_data")
	link(t, disk, dir, "base")
	var asked string
	err := removeFolder(filepath.Join(dir, "base"), "pvc-1_ns_data", func(path string) ([]string, error) {
		asked = path
		return nil, nil
	})
	if err != nil || exists(volume) || asked != volume {
		t.Errorf("removeFolder = %v, looked for mounts at %q, want %q removed", err, asked, volume)
	}
}

func TestRemoveFolderWithoutABase(t *testing.T) {
	if err := removeFolder(filepath.Join(t.TempDir(), "gone"), "ns/data", noMounts); err != nil {
		t.Errorf("removeFolder = %v, want nil", err)
	}
}

func TestRemoveFolderDoesNotCrossAMount(t *testing.T) {
	base := t.TempDir()
	volume := mkdir(t, base, "pvc-1_ns_data")
	point := mkdir(t, volume, "deep", "point")
	kept := write(t, volume, "file")
	source := t.TempDir()
	file := write(t, source, "file")
	// A bind mount of the same file system: the device's number does not tell.
	err := syscall.Mount(source, point, "", syscall.MS_BIND, "")
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(point, syscall.MNT_DETACH) })
	if err := removeFolder(base, "pvc-1_ns_data", mountsIn); err == nil || errors.As(err, new(refusal)) {
		t.Errorf("removeFolder over a mount = %v, want an error that is tried again", err)
	}
	if !exists(file) || !exists(kept) {
		t.Error("something was removed")
	}
	if err := syscall.Unmount(point, 0); err != nil {
		t.Fatal(err)
	}
	if err := removeFolder(base, "pvc-1_ns_data", mountsIn); err != nil || exists(volume) {
		t.Errorf("removeFolder after unmounting = %v", err)
	}
	if !exists(file) {
		t.Error("the mounted file is gone")
	}
}

func TestMountsInSeesTheKernelsTable(t *testing.T) {
	if got, err := mountsIn("/proc"); err != nil || len(got) == 0 || got[0] != "/proc" {
		t.Errorf("mountsIn(/proc) = %q, %v, want /proc and what is below", got, err)
	}
	if got, err := mountsIn("/pro"); err != nil || len(got) != 0 {
		t.Errorf("mountsIn(/pro) = %q, %v, want nothing", got, err)
	}
}
