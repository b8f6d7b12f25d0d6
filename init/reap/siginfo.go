package reap

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPID returns si_pid, the first field of the union of struct siginfo. On 64-bit
// machines it lies after three ints and four bytes of padding.
// Source: include/uapi/asm-generic/siginfo.h.
func siginfoPID(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16)))
}
