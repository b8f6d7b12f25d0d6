// Package output writes files that appear under their name whole or not at all: content
// goes to a hidden file beside the target, which is synced and renamed. A program that is
// killed leaves the target as it was.
package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// ErrTarget is wrapped by the errors for a target that cannot be a file: a block device,
// a directory, a name in a directory that is not there or not writable.
var ErrTarget = errors.New("cannot write the file there")

// FullError says that there is no room for a file. The target is as it was.
type FullError struct {
	Target string
	Need   int64 // bytes that the file needs; 0 if not known
	Free   int64 // bytes that were free for it
	Err    error // ENOSPC, EDQUOT or EFBIG
}

func (e *FullError) Error() string {
	dir := filepath.Dir(e.Target)
	if errors.Is(e.Err, syscall.EFBIG) {
		return fmt.Sprintf("%s: the file is too large for the file system or the limit of this process (ulimit -f); it has %s: %v", e.Target, size(e.Need), e.Err)
	}
	if e.Need == 0 {
		return fmt.Sprintf("%s: no room in %s, %s were free: %v", e.Target, dir, size(e.Free), e.Err)
	}
	return fmt.Sprintf("%s: no room in %s: %s needed, %s free; make room, or write it elsewhere with --out", e.Target, dir, size(e.Need), size(e.Free))
}

func (e *FullError) Unwrap() error { return e.Err }

// size returns n bytes for people.
func size(n int64) string {
	if n < 10_000_000 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}

// Check says whether Create(target) can work, without making anything. Use it before
// long work. Its errors wrap ErrTarget.
func Check(target string) error {
	st, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTarget, err)
	case st.IsDir():
		return fmt.Errorf("%w: %s is a directory; give a file name", ErrTarget, target)
	case st.Mode()&fs.ModeDevice != 0:
		return fmt.Errorf("%w: %s is a device; build a file, then write it to the device with dd or another tool for images", ErrTarget, target)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%w: %s is a %s; give the name of a regular file", ErrTarget, target, st.Mode().Type())
	}
	dir := filepath.Dir(target)
	st, err = os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no directory %s; make it first", ErrTarget, dir)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTarget, err)
	case !st.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrTarget, dir)
	}
	const writable = 2 // W_OK of access(2)
	if err := syscall.Access(dir, writable); err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, &fs.PathError{Op: "write to directory", Path: dir, Err: err})
	}
	return nil
}

// File is the hidden file that will become the target. Its methods may be used by
// several goroutines as those of os.File; writes that find no room return a *FullError.
type File struct {
	*os.File
	target  string
	dir     string
	need    int64
	written atomic.Int64
	done    bool
}

// Create begins a file that Commit will put at target, with the permissions perm
// (before the umask). Call Commit or Abort in the end.
// Errors: those of Check; *FullError; *fs.PathError.
func Create(target string, perm fs.FileMode) (*File, error) {
	if err := Check(target); err != nil {
		return nil, err
	}
	// A link keeps pointing where it points: its target is replaced.
	if real, err := filepath.EvalSymlinks(target); err == nil {
		target = real
	}
	dir, name := filepath.Split(target)
	if dir == "" {
		dir = "."
	}
	for n := range 100 {
		temp := filepath.Join(dir, fmt.Sprintf(".%s.%d-%d.part", name, os.Getpid(), n))
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		out := &File{File: f, target: target, dir: dir}
		if err != nil {
			return nil, out.wrap(err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: %s has a hundred unfinished files .%s.*.part; remove them", ErrTarget, dir, name)
}

// Expect says how many bytes will be allocated for the file (holes do not count). It
// returns a *FullError at once if that many are not free.
func (f *File) Expect(need int64) error {
	f.need = need
	if free := f.free(); free >= 0 && free < need {
		return &FullError{Target: f.target, Need: need, Free: free, Err: syscall.ENOSPC}
	}
	return nil
}

// free returns the free bytes of the target's file system, -1 if it does not say.
func (f *File) free() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.dir, &st); err != nil || st.Blocks == 0 {
		return -1
	}
	return int64(st.Bavail) * st.Bsize
}

// wrap turns "no room" into a *FullError and leaves other errors alone.
func (f *File) wrap(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.EFBIG) {
		return err
	}
	// What was free for us is what we have written and what is left now.
	return &FullError{Target: f.target, Need: max(f.need, f.written.Load()), Free: max(f.free(), 0) + f.written.Load(), Err: err}
}

// Write writes at the file's position.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written.Add(int64(n))
	if err != nil {
		err = f.wrap(err)
	}
	return n, err
}

// WriteAt writes at a byte offset.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.written.Add(int64(n))
	if err != nil {
		err = f.wrap(err)
	}
	return n, err
}

// ReadFrom copies r to the file's position, so that io.Copy reports no room as Write does.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

// Truncate sets the size; a larger one adds a hole.
func (f *File) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		f.need = max(f.need, size)
		return f.wrap(err)
	}
	return nil
}

// Commit syncs the file, puts it at the target and syncs the directory. On an error the
// target is as it was and the hidden file is gone.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("commit %s: already done or aborted", f.target)
	}
	if err := f.File.Sync(); err != nil {
		return errors.Join(f.wrap(err), f.Abort())
	}
	temp := f.File.Name()
	if err := f.File.Close(); err != nil {
		return errors.Join(f.wrap(err), f.Abort())
	}
	if err := os.Rename(temp, f.target); err != nil {
		return errors.Join(err, f.Abort())
	}
	f.done = true
	return syncDir(f.dir)
}

// syncDir makes a rename last through a power cut.
func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err // EINVAL: a file system without it
	}
	return nil
}

// Abort removes the hidden file. After Commit it does nothing, so it can be deferred.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.File.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.File.Name()))
}

// WriteFile writes data to target, whole or not at all.
func WriteFile(target string, data []byte, perm fs.FileMode) error {
	f, err := Create(target, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Commit()
}
