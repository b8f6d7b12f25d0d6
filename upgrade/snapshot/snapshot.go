// Package snapshot keeps a copy of the datastore from before an upgrade, to put it back when the upgrade is rolled back:
// a newer Kubernetes may have written what the older one cannot read.
//
// A snapshot is a folder of plain files, named for the upgrade. It has its name when it is whole and on the disk; a copy
// under way has the suffix ".new". Nobody may have the datastore open meanwhile.
package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/keelson-os/keelson/init/durable"
)

// Store is where the datastore and its snapshots are, on one file system.
type Store struct {
	Data string // the datastore's folder
	Dir  string // of the snapshots; is made
	// Free returns the bytes that are free for files below a folder; nil: statfs.
	Free func(dir string) (int64, error)
}

const (
	// partial is the suffix of a copy under way, replaced that of data which a restored snapshot took the place of.
	partial  = ".new"
	replaced = ".replaced"
	// spare is how much a copy leaves free, in bytes: the node has to start.
	spare = 64 << 20
	// idMax bounds an id, in bytes.
	idMax = 100
)

// ErrRoom says that the file system has no room for the copy.
var ErrRoom = errors.New("not enough room")

// Room returns nil if there is room for a snapshot now, ErrRoom with the figures if not.
func (s Store) Room() error {
	size, err := sizeOf(s.Data)
	if err != nil {
		return err
	}
	return s.room(filepath.Dir(s.Data), size)
}

func (s Store) room(dir string, size int64) error {
	free := s.Free
	if free == nil {
		free = statfs
	}
	n, err := free(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing is there to be copied either
	}
	if err != nil {
		return err
	}
	if n < size+spare {
		return fmt.Errorf("copy of the datastore: %w: it has %d MB and %d MB have to stay free, but %d MB are free on the state partition",
			ErrRoom, size>>20, int64(spare)>>20, n>>20)
	}
	return nil
}

// Has says whether there is a whole snapshot for id.
func (s Store) Has(id string) bool {
	path, err := s.path(id)
	if err != nil {
		return false
	}
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// Take copies the datastore as the snapshot for id, and returns when it is on the disk. One that is there already is
// replaced. All other snapshots are removed first: they belong to upgrades that are over. Without a datastore, as on a
// node that is an agent, the snapshot is empty.
func (s Store) Take(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	if err := s.keepOnly(id); err != nil {
		return err
	}
	size, err := sizeOf(s.Data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if err := s.room(s.Dir, size); err != nil {
		return err
	}
	staged := path + partial
	if err := copyTree(s.Data, staged); err != nil {
		return errors.Join(fmt.Errorf("snapshot of %s: %w", s.Data, err), os.RemoveAll(staged))
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		return err
	}
	return durable.SyncDir(s.Dir)
}

// Restore puts the snapshot for id in the datastore's place. Cut short at any point it can be called again, and the
// snapshot stays. An empty one changes nothing. fs.ErrNotExist: there is none.
func (s Store) Restore(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("restore the datastore: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	// What an earlier attempt left is in the way; the data it replaced is the failed upgrade's.
	if err := errors.Join(os.RemoveAll(s.Data+partial), os.RemoveAll(s.Data+replaced)); err != nil {
		return err
	}
	size, err := sizeOf(path)
	if err != nil {
		return err
	}
	parent := filepath.Dir(s.Data)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if s.room(parent, size) != nil {
		// The failed upgrade's data is of no use any more, and the snapshot is whole.
		if err := os.RemoveAll(s.Data); err != nil {
			return err
		}
	}
	if err := copyTree(path, s.Data+partial); err != nil {
		return fmt.Errorf("restore the datastore: %w", err)
	}
	if err := os.Rename(s.Data, s.Data+replaced); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(s.Data+partial, s.Data); err != nil {
		return err
	}
	if err := durable.SyncDir(parent); err != nil {
		return err
	}
	return os.RemoveAll(s.Data + replaced)
}

// Remove removes the snapshots of all upgrades.
func (s Store) Remove() error { return s.keepOnly("") }

func (s Store) keepOnly(id string) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name() != id {
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (s Store) path(id string) (string, error) {
	if id == "" || len(id) > idMax || id[0] == '.' || strings.ContainsAny(id, "/\x00") || strings.HasSuffix(id, partial) {
		return "", fmt.Errorf("id of an upgrade %q: want a file name without a leading dot", id)
	}
	return filepath.Join(s.Dir, id), nil
}

// sizeOf adds up the files below dir in bytes; none without it.
func sizeOf(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			n += info.Size()
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return n, err
}

// copyTree copies the files and folders below from to the new folder to, with their modes, and returns when they are on
// the disk. Sockets and links, which a datastore's process makes anew, are left out. A from that does not exist makes an
// empty folder.
func copyTree(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	var dirs []string
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			dirs = append(dirs, target)
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		case d.Type().IsRegular():
			return copyFile(path, target, info.Mode().Perm())
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && len(dirs) == 0 {
		return durable.SyncDir(to)
	}
	for _, dir := range dirs {
		if err == nil {
			err = durable.SyncDir(dir)
		}
	}
	return err
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func statfs(dir string) (int64, error) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		if errors.Is(err, fs.ErrNotExist) && len(dir) > 1 {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
		return int64(st.Bavail) * int64(st.Bsize), nil
	}
}
