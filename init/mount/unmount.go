package mount

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/mountinfo"
)

// keep are the mounts that stay until the end: PID 1 itself needs them.
var keep = []string{"/", "/proc", "/sys", "/dev", "/run"}

// UnmountAll takes down every mount but PID 1's own, newest first, and tries again while
// that frees others. What is still busy then is made read-only, which writes everything
// out as well. It returns the targets that could be neither.
func UnmountAll() (left []string, err error) {
	for {
		mounted, err := mounts()
		if err != nil {
			return nil, err
		}
		progress := false
		for _, m := range slices.Backward(mounted) {
			if !kept(m.Point) && unix.Unmount(m.Point, unix.UMOUNT_NOFOLLOW) == nil {
				progress = true
			}
		}
		if !progress {
			break
		}
	}
	mounted, err := mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(mounted) {
		if !kept(m.Point) && onDisk(m.FSType) && Remount(m.Point, unix.MS_RDONLY) != nil {
			left = append(left, m.Point)
		}
	}
	return left, nil
}

func mounts() ([]mountinfo.Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.Parse(f)
}

func kept(target string) bool {
	if slices.Contains(keep, target) {
		return true
	}
	// Below these is nothing that holds data.
	return strings.HasPrefix(target, "/proc/") || strings.HasPrefix(target, "/sys/") || strings.HasPrefix(target, "/dev/")
}

func onDisk(fsType string) bool {
	switch fsType {
	case "ext4", "ext3", "ext2", "vfat", "xfs", "btrfs", "f2fs", "exfat":
		return true
	}
	return false
}
