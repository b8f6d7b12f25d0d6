// Package durable writes files so that a power cut leaves the old content or the new, and overwrites those that must not be
// read again. Standard library only: PID 1, the machine API and the rooms below them share it.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path whole: after a power cut it has the old content or
// the new.
func WriteFile(path string, b []byte, mode os.FileMode) (err error) {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes renames and removals in a folder last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// chunk is how much Overwrite writes at once, bytes.
const chunk = 256 << 10

// Overwrite writes zeros over the first most bytes of a file, or all of a shorter one, in place, and syncs it. The file system must
// overwrite in place, as ext4 and FAT do.
func Overwrite(path string, most int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		left := min(info.Size(), most)
		zeros := make([]byte, min(left, chunk))
		for off := int64(0); err == nil && off < left; off += int64(len(zeros)) {
			_, err = f.WriteAt(zeros[:min(int64(len(zeros)), left-off)], off)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
