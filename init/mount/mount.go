// Package mount makes PID 1's mounts and takes them down again.
package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Mount is one file system to mount.
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
	Mode                 fs.FileMode // of the target if it has to be made; 0: it must be there
	Optional             bool        // the kernel or the machine may not have it
}

// Error is a mount that did not work, with everything the kernel was asked.
type Error struct {
	Mount
	Op  string // "mount", "bind", "propagation", "move"
	Err error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %s on %s (type %q, flags %#x, data %q): %v", e.Op, e.Source, e.Target, e.Type, e.Flags, e.Data, e.Err)
}

// Unwrap returns the kernel's errno.
func (e *Error) Unwrap() error { return e.Err }

// Do mounts m.
func Do(m Mount) error {
	if m.Mode != 0 {
		if err := os.MkdirAll(m.Target, m.Mode.Perm()); err != nil {
			return &Error{m, "mount", err}
		}
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
		return &Error{m, "mount", err}
	}
	return nil
}

// All does a table of mounts in order, but those whose target is a mount point already.
// What is optional and cannot be had is left out. It goes on after an error.
func All(table []Mount) error {
	var errs []error
	for _, m := range table {
		if mounted(m.Target) {
			continue
		}
		err := Do(m)
		if err != nil && !(m.Optional && unavailable(err)) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func unavailable(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP)
}

// mounted reports whether path is the root of a mount.
func mounted(path string) bool {
	var s unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &s) != nil {
		return false
	}
	return s.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// Bind mounts source, a file or a folder, on target as well. The copy gets a peer group of
// its own: with the source's, every later mount below one would show up below the other.
func Bind(source, target string) error {
	m := Mount{Source: source, Target: target, Flags: unix.MS_BIND}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return &Error{m, "bind", err}
	}
	for _, flags := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", target, "", flags, ""); err != nil {
			m.Flags = flags
			return &Error{m, "propagation", err}
		}
	}
	return nil
}

// ShareRoot makes every mount shared, as Kubernetes wants for mount propagation into pods.
func ShareRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return &Error{Mount{Target: "/", Flags: unix.MS_REC | unix.MS_SHARED}, "propagation", err}
	}
	return nil
}

// Remount changes the flags of what is mounted on target.
func Remount(target string, flags uintptr) error {
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|flags, ""); err != nil {
		return &Error{Mount{Target: target, Flags: unix.MS_REMOUNT | flags}, "mount", err}
	}
	return nil
}
