// Package blockdev is a disk of a Linux node, or a file that stands for one, as packages upgrade/bootcontrol and upgrade/apply want it.
package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is an open disk. Writes go through the kernel's cache; Sync brings them to the medium. ReadAt and WriteAt may be used by several
// goroutines.
type Disk struct {
	f    *os.File
	size int64
}

// Open opens a disk for reading and writing. What the kernel's cache has of it is dropped first: a file system on one of the disk's
// partitions has a cache of its own, and may have been written through that.
// Errors are *fs.PathError.
func Open(path string) (*Disk, error) { return open(path, os.O_RDWR) }

// OpenReadOnly opens a disk for reading.
func OpenReadOnly(path string) (*Disk, error) { return open(path, os.O_RDONLY) }

func open(path string, flags int) (*Disk, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d := &Disk{f, size}
	if err := d.Invalidate(0, size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }

// WriteAt implements io.WriterAt. Bytes behind the disk's end are refused.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("%s: write of bytes [%d, %d): the disk has %d", d.f.Name(), off, off+int64(len(p)), d.size)
	}
	return d.f.WriteAt(p, off)
}

// Sync returns when everything written is on the medium, and the disk's own cache is flushed.
func (d *Disk) Sync() error { return d.f.Sync() }

// Invalidate drops what the kernel's cache has of bytes [off, off+n), in whole pages around them, so that they are next read from the
// medium. What is not synced yet stays in the cache.
// Source: posix_fadvise(2), POSIX_FADV_DONTNEED.
func (d *Disk) Invalidate(off, n int64) error {
	page := int64(os.Getpagesize())
	from := off / page * page
	to := (off + n + page - 1) / page * page
	if err := unix.Fadvise(int(d.f.Fd()), from, to-from, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("%s: drop the cache of bytes [%d, %d): %w", d.f.Name(), from, to, err)
	}
	return nil
}

// Close closes the disk, without Sync.
func (d *Disk) Close() error { return d.f.Close() }
