package mount

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	in := `22 1 254:0 / / ro,relatime shared:1 - squashfs /dev/dm-0 ro
30 22 8:5 / /var/lib/rancher rw,noatime shared:2 master:3 - ext4 /dev/sda5 rw
31 30 0:40 / /run/a\040b\134c rw - tmpfs tmpfs rw
`
	got, err := parseMountinfo(strings.NewReader(in))
	want := []point{{"/", "squashfs"}, {"/var/lib/rancher", "ext4"}, {`/run/a b\c`, "tmpfs"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseMountinfo = %q, %v, want %q", got, err, want)
	}
	if _, err := parseMountinfo(strings.NewReader("22 1 254:0 / /\n")); err == nil {
		t.Error("a line cut short is no error")
	}
}

func TestKeptAreOnlyPID1sMounts(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/proc": true, "/sys/fs/cgroup": true, "/dev/pts": true, "/run": true,
		"/run/k3s/containerd/x/rootfs": false, "/var/lib/rancher": false, "/tmp": false, "/device": false,
	} {
		if got := kept(target); got != want {
			t.Errorf("kept(%q) = %v, want %v", target, got, want)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add("22 1 254:0 / /a\\040b ro shared:1 - ext4 x rw\n")
	f.Fuzz(func(t *testing.T, s string) {
		points, err := parseMountinfo(strings.NewReader(s))
		if err == nil && len(points) > len(s) {
			t.Errorf("parseMountinfo(%q): %d mounts", s, len(points))
		}
	})
}
