package wipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// chunk is how much is overwritten at once, in bytes: seconds on a slow card.
	chunk = 64 << 20
	// buffer is what is written at once where the kernel has no better way.
	buffer = 1 << 20
	// sayEvery is the time between two words on how far it is.
	sayEvery = 10 * time.Second
)

// Disk is an open disk that is to be wiped.
type Disk struct {
	f    *os.File
	size int64
	// Say tells the operator what is being done.
	say func(format string, args ...any)
	// alive is called when another chunk was written.
	alive func()
}

// Open opens a disk; say tells the operator what is done to it, and alive is called whenever there is progress.
func Open(path string, say func(format string, args ...any), alive func()) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Disk{f, size, say, alive}, nil
}

// Close closes the disk.
func (d *Disk) Close() error { return d.f.Close() }

// zero overwrites bytes [off, off+n) with zeros, and returns when they are on the medium.
func (d *Disk) zero(what string, off, n int64) error {
	began, said := time.Now(), time.Now()
	for done := int64(0); done < n; {
		step := min(chunk, n-done)
		if err := d.zeroChunk(off+done, step); err != nil {
			return fmt.Errorf("overwrite bytes [%d, %d) of %s: %w", off+done, off+done+step, d.f.Name(), err)
		}
		done += step
		d.alive()
		if time.Since(said) >= sayEvery && done < n {
			said = time.Now()
			left := time.Duration(float64(time.Since(began)) * float64(n-done) / float64(done))
			d.say("%s: %d %% overwritten, %v to go", what, done*100/n, left.Round(time.Second))
		}
	}
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("overwrite %s: %w", what, err)
	}
	return nil
}

func (d *Disk) zeroChunk(off, n int64) error {
	err := d.ioctl(unix.BLKZEROOUT, off, n)
	if err == nil || !unsupported(err) {
		return err
	}
	zeros := make([]byte, min(buffer, n))
	for done := int64(0); done < n; {
		m, err := d.f.WriteAt(zeros[:min(int64(len(zeros)), n-done)], off+done)
		if err != nil {
			return err
		}
		done += int64(m)
	}
	return nil
}

// discard tells the disk that bytes [off, off+n) are of no use, so that it erases them, securely if it can. ok says
// whether it knows how.
func (d *Disk) discard(off, n int64) (ok bool) {
	for _, op := range []uint{unix.BLKSECDISCARD, unix.BLKDISCARD} {
		done := int64(0)
		for done < n && d.ioctl(op, off+done, min(16*chunk, n-done)) == nil {
			done += min(16*chunk, n-done)
			d.alive()
		}
		if done == n {
			return true
		}
	}
	return false
}

func (d *Disk) ioctl(op uint, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), uintptr(op), uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return &fs.PathError{Op: "ioctl", Path: d.f.Name(), Err: errno}
	}
	return nil
}

// unsupported: the disk is a file in a test, or its driver cannot.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}
