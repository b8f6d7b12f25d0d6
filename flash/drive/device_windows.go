package drive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/windows"
)

const howToGetRights = "start the terminal with \"Run as administrator\""

// Device controls. Source: Windows SDK, winioctl.h.
const (
	fsctlLockVolume           = 0x00090018
	fsctlDismountVolume       = 0x00090020
	ioctlDiskUpdateProperties = 0x00070140
	ioctlDiskGetLengthInfo    = 0x0007405c
)

// openDisk takes the volumes of the disk away from Windows, then opens the disk. Windows
// refuses writes to the part of a disk that a mounted volume has; a volume that was locked
// and dismounted stays away until its handle is closed. Handles of disks have no cache,
// and take whole sectors only.
func (d *Device) openDisk(_ context.Context, disk *Disk, shared bool) (err error) {
	for _, p := range disk.Partitions {
		if p.Volume == "" {
			continue
		}
		if err := d.takeVolume(p); err != nil && !shared {
			return err
		}
	}
	d.plain, err = openHandle(d.path, windows.FILE_FLAG_WRITE_THROUGH)
	if err != nil {
		return err
	}
	var length int64
	if err := control(d.plain, ioctlDiskGetLengthInfo, &length); err != nil {
		return fmt.Errorf("length: %w", err)
	}
	if length != d.size {
		return fmt.Errorf("it has %d bytes now, and had %d when it was looked at: was it exchanged?", length, d.size)
	}
	return nil
}

// takeVolume locks and dismounts the volume of a partition, and keeps its handle.
func (d *Device) takeVolume(p Partition) error {
	// \\?\Volume{…} without the backslash at its end is the device, with it the root folder.
	f, err := openHandle(strings.TrimSuffix(p.Volume, `\`), 0)
	if err != nil {
		return fmt.Errorf("open the volume on %s: %w", p.Path, err)
	}
	d.held = append(d.held, f)
	for _, c := range []struct {
		code uint32
		verb string
	}{{fsctlLockVolume, "lock"}, {fsctlDismountVolume, "dismount"}} {
		if err := control(f, c.code, nil); err != nil {
			return fmt.Errorf("%s the volume on %s, which a program may have open: %w", c.verb, p.Path, err)
		}
	}
	return nil
}

// openHandle opens a device for reading and writing.
func openHandle(path string, flags uint32) (*os.File, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(p, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil,
		windows.OPEN_EXISTING, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// control runs a device control that answers with one number, or none when result is nil.
func control(f *os.File, code uint32, result *int64) error {
	var out *byte
	var size, n uint32
	if result != nil {
		out, size = bytesOf(result), 8
	}
	return windows.DeviceIoControl(windows.Handle(f.Fd()), code, nil, 0, out, size, &n, nil)
}

// openDirect: files go through the cache on Windows.
func openDirect(string) *os.File { return nil }

func (d *Device) zeroOut(int64, int64) error { return errors.ErrUnsupported }

func (d *Device) flush() error { return d.plain.Sync() }
func (d *Device) forget()      {}

// reread makes Windows read the partition table; it also does so when the disk is plugged in.
func (d *Device) reread() { _ = control(d.plain, ioctlDiskUpdateProperties, nil) }
