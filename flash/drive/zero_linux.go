package drive

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zeroRange is the ioctl BLKZEROOUT on [off, off+n), both multiples of a sector.
func zeroRange(fd uintptr, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span))); errno != 0 {
		return os.NewSyscallError("ioctl BLKZEROOUT", errno)
	}
	return nil
}
