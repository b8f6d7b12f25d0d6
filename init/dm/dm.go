// Package dm makes device-mapper devices through the kernel's ioctls.
//
// A device is made in three calls, as dmsetup does: create it empty, load its table,
// resume it. Only devices of one target are made here.
// Source: include/uapi/linux/dm-ioctl.h, drivers/md/dm-ioctl.c.
package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is the device-mapper's control device; it appears with the module dm_mod.
const Control = "/dev/mapper/control"

// Target is a device's one line of table.
type Target struct {
	Sectors uint64 // length of the device in sectors of 512 bytes
	Type    string // "verity"
	Params  string
}

const (
	ioctlSize = int(unsafe.Sizeof(unix.DmIoctl{}))
	specSize  = int(unsafe.Sizeof(unix.DmTargetSpec{}))
)

// CreateReadOnly makes and resumes the read-only device name and returns its path below
// /dev ("/dev/dm-0"), which devtmpfs makes. On an error no device is left behind.
func CreateReadOnly(name string, t Target) (path string, err error) {
	control, err := os.OpenFile(Control, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	dev, err := call(control, unix.DM_DEV_CREATE, "DM_DEV_CREATE", name, 0, nil)
	if err != nil {
		return "", err
	}
	table, err := t.marshal()
	if err == nil {
		_, err = call(control, unix.DM_TABLE_LOAD, "DM_TABLE_LOAD", name, unix.DM_READONLY_FLAG, table)
	}
	if err == nil {
		// Without DM_SUSPEND_FLAG the call resumes.
		_, err = call(control, unix.DM_DEV_SUSPEND, "DM_DEV_SUSPEND", name, unix.DM_READONLY_FLAG, nil)
	}
	if err != nil {
		_, rerr := call(control, unix.DM_DEV_REMOVE, "DM_DEV_REMOVE", name, 0, nil)
		return "", errors.Join(err, rerr)
	}
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(dev)), nil
}

// marshal returns struct dm_target_spec and the parameters, padded to 8 bytes.
func (t Target) marshal() ([]byte, error) {
	spec := unix.DmTargetSpec{Length: t.Sectors}
	if len(t.Type) >= len(spec.Target_type) {
		return nil, fmt.Errorf("dm: target type %q is longer than %d bytes", t.Type, len(spec.Target_type)-1)
	}
	size := (specSize + len(t.Params) + 1 + 7) &^ 7
	spec.Next = uint32(size)
	copy(spec.Target_type[:], t.Type)
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, &spec); err != nil {
		return nil, err
	}
	b.WriteString(t.Params)
	b.Write(make([]byte, size-b.Len()))
	return b.Bytes(), nil
}

// call does one ioctl with data after the header and returns the device number.
func call(control *os.File, req uint, op, name string, flags uint32, data []byte) (dev uint64, err error) {
	buf := make([]byte, ioctlSize+len(data))
	h := (*unix.DmIoctl)(unsafe.Pointer(&buf[0]))
	h.Version = [3]uint32{4, 0, 0}
	h.Data_size = uint32(len(buf))
	h.Data_start = uint32(ioctlSize)
	h.Flags = flags
	if len(name) >= len(h.Name) {
		return 0, fmt.Errorf("dm: name %q is longer than %d bytes", name, len(h.Name)-1)
	}
	copy(h.Name[:], name)
	if len(data) > 0 {
		h.Target_count = 1
		copy(buf[ioctlSize:], data)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), uintptr(req), uintptr(unsafe.Pointer(h)))
	if errno != 0 {
		return 0, os.NewSyscallError(fmt.Sprintf("%s %s %q", op, name, data), errno)
	}
	return h.Dev, nil
}
