package mount

import "testing"

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
