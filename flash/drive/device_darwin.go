package drive

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const howToGetRights = "run keelson with sudo; if that is denied too, allow your terminal \"Full Disk Access\" in System Settings, Privacy & Security"

// openDisk opens the raw device, which has no cache and takes whole sectors only. macOS
// refuses it with EBUSY while a volume of it is mounted.
func (d *Device) openDisk(context.Context, *Disk, bool) (err error) {
	d.plain, err = os.OpenFile(strings.Replace(d.path, "/dev/disk", "/dev/rdisk", 1), os.O_RDWR, 0)
	return err
}

// openDirect opens a file so that its pages do not stay in the cache.
func openDirect(path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1); err != nil {
		f.Close()
		return nil
	}
	return f
}

func (d *Device) zeroOut(int64, int64) error { return errors.ErrUnsupported }

// flush: Sync is F_FULLFSYNC, which raw devices do not know; they have no cache but the
// disk's own, which DKIOCSYNCHRONIZECACHE empties.
func (d *Device) flush() error {
	if d.file {
		return d.plain.Sync()
	}
	const dkiocSynchronizeCache = 0x20006416 // sys/disk.h: _IO('d', 22)
	err := unix.IoctlSetInt(int(d.plain.Fd()), dkiocSynchronizeCache, 0)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOTSUP) {
		return nil // a disk without a cache of its own
	}
	return err
}

func (d *Device) forget() {}
func (d *Device) reread() {}
