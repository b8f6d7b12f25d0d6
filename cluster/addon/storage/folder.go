package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// volumeMode is upstream's: pods run as any user.
	volumeMode fs.FileMode = 0o777
	// parentMode keeps the node's other users, if a container ever escapes to one, out of
	// folders that everybody may write to. It is that of k3s's setup script.
	parentMode fs.FileMode = 0o700
)

// makeFolder makes the folder below in base, and whatever above is missing. One that
// exists, from a try before a crash or by a pathPattern that means an old one, is taken if it
// is a folder and not a link. The folder directly above gets parentMode.
func makeFolder(base, below string) error {
	if err := os.MkdirAll(base, parentMode); err != nil {
		if errors.Is(err, syscall.EROFS) {
			return fmt.Errorf("%w: only folders below /var/lib/rancher are kept on this node", err)
		}
		return err
	}
	parent, name, err := openParent(base, below, true)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := chmod(parent, parentMode); err != nil {
		return fmt.Errorf("folder above %s: %w", filepath.Join(base, below), err)
	}
	if err := parent.Mkdir(name, volumeMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("in %s: %w", base, err)
	}
	folder, err := enter(parent, name)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(base, below), err)
	}
	defer folder.Close()
	empty, err := isEmpty(folder)
	if err != nil || !empty {
		return err // whoever filled it chose its mode
	}
	// Mkdir's mode went through the umask, this one does not.
	return chmod(folder, volumeMode)
}

// removeFolder removes the folder below in base with all that is in it. One that is not
// there is removed. It follows no link, and refuses one in the place of a folder; mounted
// returns the mount points at and below a path, which are never crossed.
func removeFolder(base, below string, mounted func(path string) ([]string, error)) error {
	parent, name, err := openParent(base, below, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	path := filepath.Join(base, below)
	folder, err := enter(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := folder.Close(); err != nil {
		return err
	}
	// The kernel's table of mounts knows no links; only the base may be below one.
	real, err := filepath.EvalSymlinks(base)
	if err != nil {
		return err
	}
	mounts, err := mounted(filepath.Join(real, below))
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is not removed while something is mounted in it, at %s: unmount it", path, strings.Join(mounts, ", "))
	}
	if err := parent.RemoveAll(name); err != nil {
		return fmt.Errorf("in %s: %w", base, err)
	}
	return nil
}

// openParent opens the folder above the last element of below, which is local and clean,
// and returns it and that element. Elements in between must be folders; with create,
// missing ones are made.
func openParent(base, below string, create bool) (*os.Root, string, error) {
	parent, err := os.OpenRoot(base)
	if err != nil {
		return nil, "", err
	}
	elements := strings.Split(below, "/")
	name := elements[len(elements)-1]
	for i, e := range elements[:len(elements)-1] {
		if create {
			if err := parent.Mkdir(e, parentMode); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, "", errors.Join(fmt.Errorf("in %s: %w", base, err), parent.Close())
			}
		}
		next, err := enter(parent, e)
		if err := errors.Join(err, parent.Close()); err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(base, filepath.Join(elements[:i+1]...)), err)
		}
		parent = next
	}
	return parent, name, nil
}

// enter opens the folder name in parent. os.Root keeps a link from leading out of parent
// but follows it inside, to another's volume; so what was opened must be what Lstat saw.
func enter(parent *os.Root, name string) (*os.Root, error) {
	want, err := parent.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !want.IsDir() {
		return nil, refuse("want a folder, got %s", kind(want.Mode()))
	}
	folder, err := parent.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	got, err := folder.Stat(".")
	if err == nil && !os.SameFile(want, got) {
		err = fmt.Errorf("was exchanged while it was opened")
	}
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m.IsRegular():
		return "a file"
	}
	return "a special file"
}

// chmod changes the mode of an open folder, if it differs.
func chmod(folder *os.Root, mode fs.FileMode) error {
	f, err := folder.Open(".")
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm() != mode {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}

func isEmpty(folder *os.Root) (bool, error) {
	f, err := folder.Open(".")
	if err != nil {
		return false, err
	}
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, f.Close()
	}
	return false, errors.Join(err, f.Close())
}
