package mount

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// keep are the mounts that stay until the end: PID 1 itself needs them.
var keep = []string{"/", "/proc", "/sys", "/dev", "/run"}

// point is a line of /proc/self/mountinfo.
type point struct {
	target, fsType string
}

// parseMountinfo reads /proc/self/mountinfo in its order, oldest mount first.
// Source: Documentation/filesystems/proc.rst, 3.5.
func parseMountinfo(r io.Reader) ([]point, error) {
	var points []point
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20) // overlay mounts have long options
	for s.Scan() {
		fields := strings.Fields(s.Text())
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) {
			return nil, fmt.Errorf("mountinfo: line %q", s.Text())
		}
		points = append(points, point{unescape(fields[4]), fields[dash+1]})
	}
	return points, s.Err()
}

// unescape undoes the kernel's \ooo for white space and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// UnmountAll takes down every mount but PID 1's own, newest first, and tries again while
// that frees others. What is still busy then is made read-only, which writes everything
// out as well. It returns the targets that could be neither.
func UnmountAll() (left []string, err error) {
	for {
		points, err := mounts()
		if err != nil {
			return nil, err
		}
		progress := false
		for _, p := range slices.Backward(points) {
			if !kept(p.target) && unix.Unmount(p.target, unix.UMOUNT_NOFOLLOW) == nil {
				progress = true
			}
		}
		if !progress {
			break
		}
	}
	points, err := mounts()
	if err != nil {
		return nil, err
	}
	for _, p := range slices.Backward(points) {
		if !kept(p.target) && onDisk(p.fsType) && Remount(p.target, unix.MS_RDONLY) != nil {
			left = append(left, p.target)
		}
	}
	return left, nil
}

func mounts() ([]point, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMountinfo(f)
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
