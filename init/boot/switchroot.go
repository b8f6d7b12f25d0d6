package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// moved are the mounts that the new root takes over.
var moved = []string{"/proc", "/sys", "/dev", "/run"}

// switchRoot makes the mount at root the root of this process, frees the initramfs and
// starts program there. It returns only with an error.
// pivot_root cannot be used: the initramfs is the kernel's own root and cannot be moved.
// Source: Documentation/filesystems/ramfs-rootfs-initramfs.rst, "What is rootfs?".
func switchRoot(root, program string) error {
	for _, dir := range moved {
		if err := unix.Mount(dir, root+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move mount %s to %s: %w", dir, root+dir, err)
		}
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the initramfs: %w", err)
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("chdir %s: %w", root, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(old, &st); err != nil {
		return fmt.Errorf("stat the initramfs: %w", err)
	}
	removeAll(old, st.Dev)
	unix.Close(old)
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move mount %s to /: %w", root, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot %s: %w", root, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir /: %w", err)
	}
	if fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		for i := range 3 {
			unix.Dup3(fd, i, 0)
		}
		if fd > 2 {
			unix.Close(fd)
		}
	}
	err = unix.Exec(program, []string{program}, os.Environ())
	return fmt.Errorf("exec %s of the new root: %w", program, err)
}

// removeAll removes what is in the folder dir, but nothing on another file system than
// dev: a mount that is still below it must not lose its files. Errors leave some memory
// in use, no more.
func removeAll(dir int, dev uint64) {
	dup, err := unix.Dup(dir)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(dup), "initramfs")
	names, _ := f.Readdirnames(-1)
	f.Close()
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != dev {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			unix.Unlinkat(dir, name, 0)
			continue
		}
		sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		removeAll(sub, dev)
		unix.Close(sub)
		unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
}
