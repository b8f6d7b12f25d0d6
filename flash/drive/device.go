package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"unsafe"
)

// align is what place, length and memory of a read or write are multiples of for it to go
// past the system's cache, in bytes: enough for every disk and file system.
const align = 4096

// Device is a disk that is open for reading and writing, or a file in its place. Reads and
// writes whose place and length are multiples of 4096, from memory that Buffer returned,
// go past the system's cache; others work too, but on raw disks they must be multiples of
// SectorSize. Not safe for concurrent use, but for reads.
type Device struct {
	path   string
	size   int64
	file   bool
	direct *os.File // nil where the file system cannot do that
	plain  *os.File
	held   []io.Closer // what must stay open as long as the device: Windows' locked volumes
}

// Buffer returns n bytes whose place in memory suits reads and writes past the cache.
func Buffer(n int) []byte {
	b := make([]byte, n+align)
	skip := 0
	if rest := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % align); rest != 0 {
		skip = align - rest
	}
	return b[skip : skip+n : skip+n]
}

// Open opens the disk for reading and writing, alone where the system has a way to say so.
// Check it first: allowed must be what Check was called with; mounted file systems must be
// gone. A file is made, 0600, if it is not there, with size bytes if it is empty.
func (d *Disk) Open(ctx context.Context, size int64, allowed []Refusal) (*Device, error) {
	if d.IsFile() {
		return openFile(d, size)
	}
	path, length := d.Target()
	dev := &Device{path: path, size: length}
	shared := slices.Contains(allowed, System) || slices.Contains(allowed, InUse)
	if err := dev.openDisk(ctx, d, shared); err != nil {
		return nil, errors.Join(explainOpen(err, path), dev.Close())
	}
	return dev, nil
}

// explainOpen says what to do about a disk that cannot be opened.
func explainOpen(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open %s: permission denied: %s", path, howToGetRights)
	case busy(err):
		return fmt.Errorf("open %s: it is in use by another program or a mounted file system: close that, or unmount it (%w)", path, err)
	case Gone(err):
		return fmt.Errorf("open %s: there is no disk, or no medium in it: %w", path, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func openFile(d *Disk, size int64) (_ *Device, err error) {
	dev := &Device{path: d.Path, size: d.Size, file: true}
	dev.plain, err = os.OpenFile(d.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if dev.size == 0 {
		dev.size = size
		if err := dev.plain.Truncate(size); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: set its size to %d bytes: %w", d.Path, size, err), dev.Close())
		}
	}
	dev.direct = openDirect(d.Path)
	return dev, nil
}

// Path is the disk's path.
func (d *Device) Path() string { return d.path }

// Size is the disk's length in bytes.
func (d *Device) Size() int64 { return d.size }

// Blank makes a file read as zeros over its whole length, without storing any. It reports
// whether it did: a disk it leaves as it is.
func (d *Device) Blank() (bool, error) {
	if !d.file {
		return false, nil
	}
	if err := errors.Join(d.plain.Truncate(0), d.plain.Truncate(d.size)); err != nil {
		return false, fmt.Errorf("empty %s: %w", d.path, err)
	}
	return true, nil
}

// straight reports whether an access can go past the cache.
func (d *Device) straight(p []byte, off int64) bool {
	return d.direct != nil && len(p) > 0 && off%align == 0 && len(p)%align == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%align == 0
}

// ReadAt reads as io.ReaderAt demands.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if d.straight(p, off) {
		n, err := d.direct.ReadAt(p, off)
		if n == len(p) || !errors.Is(err, io.EOF) {
			return n, err
		}
		// The end of a file whose length is no multiple: the cache knows it.
	}
	return d.plain.ReadAt(p, off)
}

// WriteAt writes as io.WriterAt demands, but never makes the disk longer.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > d.size-off {
		return 0, fmt.Errorf("write %d bytes at byte %d of %s: it has %d", len(p), off, d.path, d.size)
	}
	if d.straight(p, off) {
		return d.direct.WriteAt(p, off)
	}
	return d.plain.WriteAt(p, off)
}

// Zero makes the disk do the work of writing n bytes of zeros at off, if it can: else the
// error is errors.ErrUnsupported, and nothing was written.
func (d *Device) Zero(off, n int64) error {
	if d.file {
		return errors.ErrUnsupported
	}
	return d.zeroOut(off, n)
}

// Sync returns when everything that was written is on the medium, and makes later reads
// ask the medium.
func (d *Device) Sync() error {
	if err := d.flush(); err != nil {
		return err
	}
	d.forget()
	return nil
}

// Close tells the system that the disk has a new partition table and closes it.
func (d *Device) Close() error {
	var errs []error
	if !d.file && d.plain != nil {
		d.reread()
	}
	for _, f := range []*os.File{d.direct, d.plain} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	for _, c := range d.held {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
