package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

var thisHost = host{sys: "/sys", proc: "/proc", udev: "/run/udev/data"}

func list(context.Context) ([]Disk, error) { return thisHost.disks() }

// isDevicePath: on Linux the file itself says what it is.
func isDevicePath(string) bool { return false }

func find(_ context.Context, path string) (*Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, fmt.Errorf("%s %w", path, ErrNotDisk)
	}
	d, partSize, err := thisHost.byNumber(number(fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if partSize > 0 {
		d.Part, d.PartSize = path, partSize
	}
	return d, nil
}

// Unmount unmounts every file system of the disk.
func (d *Disk) Unmount(context.Context) error {
	for i := len(d.Uses) - 1; i >= 0; i-- { // what was mounted last first
		if u := d.Uses[i]; u.Mount != "" && u.Kind == Mounted {
			if err := unix.Unmount(u.Mount, unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w", u.By, err)
			}
		}
	}
	return nil
}

// Eject says that the disk may go: on Linux it may, once it is closed.
func (d *Disk) Eject(context.Context) error { return nil }
