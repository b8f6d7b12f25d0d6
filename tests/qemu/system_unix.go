//go:build unix

package qemu

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// killSession kills QEMU and what it started; QEMU leads its session, and is not reaped
// before this is called. One that has ended is no error.
func killSession(pid int) error {
	if err := unix.Kill(-pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// killProcess kills a process that was found by its socket.
func killProcess(pid int) error {
	return os.NewSyscallError("kill", unix.Kill(pid, unix.SIGKILL))
}

// nobodyListens reports whether an error of dialling says that there is no socket, or that
// nobody is behind it any more.
func nobodyListens(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// nextData returns where a file has data at or behind off; end: only a hole follows. Not
// every file system knows holes: then it answers off itself.
func nextData(f *os.File, off int64) (data int64, end bool) {
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case err == nil:
		return data, false
	case errors.Is(err, unix.ENXIO):
		return off, true
	}
	return off, false
}

// kernelRelease names the running kernel.
func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
