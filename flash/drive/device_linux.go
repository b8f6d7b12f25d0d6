package drive

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const howToGetRights = "run keelson with sudo, or let your user write to the disk (on Debian: group disk)"

// openDisk opens the disk past the cache and, for the odd pieces, through it. shared: also
// when a mounted file system or another device has it.
func (d *Device) openDisk(_ context.Context, _ *Disk, shared bool) (err error) {
	flags := os.O_RDWR
	if !shared {
		flags |= unix.O_EXCL // on a block device: nobody has it mounted, see open(2)
	}
	if d.direct, err = os.OpenFile(d.path, flags|unix.O_DIRECT, 0); err != nil {
		return err
	}
	d.plain, err = os.OpenFile(d.path, os.O_RDWR, 0)
	return err
}

// openDirect opens a file past the cache; nil where its file system cannot.
func openDirect(path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return f
}

// zeroOut lets the kernel write zeros: by a command of the disk that promises them, else
// by itself.
// Source: Linux block/ioctl.c, BLKZEROOUT.
func (d *Device) zeroOut(off, n int64) error {
	if d.direct == nil {
		return errors.ErrUnsupported
	}
	return zeroRange(d.direct.Fd(), off, n)
}

func (d *Device) flush() error { return d.plain.Sync() }

// forget drops what the cache has of the disk. It only matters for the odd pieces; where
// it fails they are read from the cache.
func (d *Device) forget() { _ = unix.Fadvise(int(d.plain.Fd()), 0, 0, unix.FADV_DONTNEED) }

// reread makes the kernel read the partition table. It refuses while a partition is in
// use, and for a partition: then the next boot or plugging does it.
func (d *Device) reread() { _ = unix.IoctlSetInt(int(d.plain.Fd()), unix.BLKRRPART, 0) }
