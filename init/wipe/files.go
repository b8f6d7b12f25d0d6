package wipe

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/durable"
)

// fileMax bounds how much of one file is overwritten, in bytes: a key is short, and a datastore's first part has its
// structure.
const fileMax = 64 << 20

// Files overwrites files, and those below folders, in place, until ctx is done, and returns how many. The file system
// must overwrite in place, as ext4 does. What is mounted below a folder is not touched: it may be somebody else's.
func Files(ctx context.Context, paths ...string) (n int, err error) {
	var errs []error
	for _, top := range paths {
		own, err := device(top)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case d.IsDir():
				if dev, err := device(path); err != nil || dev != own {
					return fs.SkipDir
				}
				return nil
			case !d.Type().IsRegular():
				return nil
			}
			if err := durable.Overwrite(path, fileMax); err != nil {
				errs = append(errs, err)
				return nil
			}
			n++
			return nil
		})
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// device returns the number of the file system that path is on.
func device(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return uint64(st.Dev), nil
}
