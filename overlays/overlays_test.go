package overlays

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestBaseHasTheLayout(t *testing.T) {
	entries, err := Read(Base)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Entry{}
	for _, e := range entries {
		got[e.Path] = e
	}
	for path, mode := range map[string]fs.FileMode{
		"tmp":               fs.ModeDir | fs.ModeSticky | 0o777,
		"proc":              fs.ModeDir | 0o555,
		"root":              fs.ModeDir | 0o700,
		"var/lib/rancher":   fs.ModeDir | 0o755,
		"var/lib/kubelet":   fs.ModeDir | 0o755,
		"etc/passwd":        0o644,
		"etc/machine-id":    0o444,
		"bin":               fs.ModeSymlink | 0o777,
		"etc/resolv.conf":   fs.ModeSymlink | 0o777,
		"etc/rancher":       fs.ModeDir | 0o755,
		"var/lib/cni":       fs.ModeDir | 0o755,
		"var/log":           fs.ModeDir | 0o755,
		"etc/nsswitch.conf": 0o644,
	} {
		if got[path].Mode != mode {
			t.Errorf("mode of %s = %v, want %v", path, got[path].Mode, mode)
		}
	}
	if to := got["lib64"].Target; to != "usr/lib64" {
		t.Errorf("lib64 → %q, want usr/lib64", to)
	}
	if n := len(got["etc/machine-id"].Data); n != 0 {
		t.Errorf("etc/machine-id has %d bytes, want none: it is a bind target", n)
	}
}

func TestManifestFaultsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, manifest, want string }{
		{"unlisted file", "", "overlays/x/manifest: the file etc/a is not listed"},
		{"missing file", "file 0644 etc/a\nfile 0644 etc/b", "overlays/x/manifest:2: "},
		{"setuid", "file 4755 etc/a", "overlays/x/manifest:1: mode"},
		{"leaves the root", "file 0644 etc/a\nlink ../x y", "overlays/x/manifest:2: path"},
		{"twice", "file 0644 etc/a\nfile 0644 etc/a", "overlays/x/manifest:2: etc/a is there twice"},
		{"unknown word", "pipe 0644 etc/a", "overlays/x/manifest:1: \"pipe\""},
		{"short line", "dir etc", "overlays/x/manifest:1: got 2 fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(fstest.MapFS{"manifest": {Data: []byte(c.manifest)}, "etc/a": {}}, "overlays/x")
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("read = %v, want an error that begins with %q", err, c.want)
			}
		})
	}
}

func TestManifestsAndChartsAreAtTheirRoots(t *testing.T) {
	for _, c := range []struct {
		name string
		fsys fs.FS
		want string
	}{
		{"manifests", Manifests(), "coredns.yaml"},
		{"charts", Charts(), "traefik/Chart.yaml"},
	} {
		if data, err := fs.ReadFile(c.fsys, c.want); err != nil || len(data) == 0 {
			t.Errorf("%s: %s has %d bytes, %v, want the file", c.name, c.want, len(data), err)
		}
	}
}
