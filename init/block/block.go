// Package block finds disks and partitions through /sys and talks to the block layer.
package block

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a whole block device that can hold partitions.
type Disk struct {
	Name string // "vda"
	Dev  string // "/dev/vda"
	Size int64  // bytes
	// SectorSize is the size of a logical block in bytes.
	SectorSize int
}

// virtual are the beginnings of names that are no disks. mtdblock is a board's boot flash.
var virtual = []string{"loop", "ram", "zram", "dm-", "md", "mtdblock", "sr", "fd", "nbd"}

func isVirtual(name string) bool {
	return slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(name, p) })
}

// isHardwarePart reports whether name is a part of an eMMC chip that has no partitions:
// mmcblk0boot0, mmcblk0boot1, mmcblk0rpmb. To read one the chip must be switched over to
// it, which some controllers answer with errors.
func isHardwarePart(name string) bool {
	return strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.HasSuffix(name, "rpmb"))
}

// Disks lists the disks below sys (/sys) that have a medium, by name.
func Disks(sys string) ([]Disk, error) {
	dirs, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, d := range dirs {
		name := d.Name()
		if isVirtual(name) || isHardwarePart(name) {
			continue
		}
		dir := filepath.Join(sys, "block", name)
		sectors, err := number(filepath.Join(dir, "size")) // always of 512 bytes
		if err != nil || sectors == 0 {
			continue
		}
		size, err := number(filepath.Join(dir, "queue/logical_block_size"))
		if err != nil {
			size = 512
		}
		// "!" stands for "/" in names of /sys.
		disks = append(disks, Disk{name, "/dev/" + strings.ReplaceAll(name, "!", "/"), sectors * 512, int(size)})
	}
	return disks, nil
}

// Partition returns the device of partition n of the disk called name, fs.ErrNotExist when
// the kernel does not know it.
func Partition(sys, name string, n int) (dev string, err error) {
	files, _ := filepath.Glob(filepath.Join(sys, "block", name, "*", "partition"))
	for _, file := range files {
		if got, err := number(file); err == nil && got == int64(n) {
			return "/dev/" + strings.ReplaceAll(filepath.Base(filepath.Dir(file)), "!", "/"), nil
		}
	}
	return "", fmt.Errorf("partition %d of %s: %w", n, name, os.ErrNotExist)
}

func number(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// Size returns the length of a block device in bytes.
func Size(f *os.File) (int64, error) {
	var n uint64
	if err := ioctl(f, unix.BLKGETSIZE64, unsafe.Pointer(&n)); err != nil {
		return 0, &os.PathError{Op: "BLKGETSIZE64", Path: f.Name(), Err: err}
	}
	return int64(n), nil
}

// Reread lets the kernel read the disk's partition table again; EBUSY when a partition is
// in use.
func Reread(disk *os.File) error {
	if err := ioctl(disk, unix.BLKRRPART, nil); err != nil {
		return &os.PathError{Op: "BLKRRPART", Path: disk.Name(), Err: err}
	}
	return nil
}

// blkpgResize is BLKPG_RESIZE_PARTITION.
const blkpgResize = 3

// ResizePartition tells the kernel the new length of partition n, in bytes, also while
// other partitions of the disk are in use. start must be the partition's present one.
func ResizePartition(disk *os.File, n int, start, length int64) error {
	p := unix.BlkpgPartition{Start: start, Length: length, Pno: int32(n)}
	arg := unix.BlkpgIoctlArg{Op: blkpgResize, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if err := ioctl(disk, unix.BLKPG, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("BLKPG_RESIZE_PARTITION %s partition %d to %d bytes: %w", disk.Name(), n, length, err)
	}
	return nil
}

func ioctl(f *os.File, req uintptr, arg unsafe.Pointer) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(arg))
	})
	if errno != 0 {
		err = errors.Join(err, errno)
	}
	return err
}
