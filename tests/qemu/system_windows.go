package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// howToInstall says what brings a missing program or file; QEMU's installer has all but U-Boot.
func howToInstall(string) string {
	return "install QEMU 7.2 or newer (winget install SoftwareFreedomConservancy.QEMU)"
}

// ownSession keeps Ctrl-C of our console from QEMU. Windows has no simple way to let it die with us.
func ownSession(bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

func socketAddress(folder *os.File) (string, error) { return shortAddress(folder.Name()) }

// peerPID asks the kernel who listens on the socket; a pid file could be stale.
// Source: Windows SDK, afunix.h.
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	const sioAFUnixGetPeerPID = 0x58000100
	var pid [4]byte
	var ierr error
	if err := raw.Control(func(fd uintptr) {
		var n uint32
		ierr = windows.WSAIoctl(windows.Handle(fd), sioAFUnixGetPeerPID, nil, 0, &pid[0], uint32(len(pid)), &n, nil, 0)
	}); err != nil {
		return 0, err
	}
	if ierr != nil {
		return 0, os.NewSyscallError("WSAIoctl SIO_AF_UNIX_GETPEERPID", ierr)
	}
	return int(uint32(pid[0]) | uint32(pid[1])<<8 | uint32(pid[2])<<16 | uint32(pid[3])<<24), nil
}

// kvmUsable: there is no KVM, so the processor is emulated.
func kvmUsable() bool { return false }

func killSession(pid int) error {
	err := killProcess(pid)
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return nil // it has ended
	}
	return err
}

// killProcess kills a process by its id.
func killProcess(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return errors.Join(p.Kill(), p.Release())
}

// nobodyListens reports whether an error of dialling says that there is no socket, or that
// nobody is behind it any more.
func nobodyListens(err error) bool {
	for _, e := range []error{windows.WSAECONNREFUSED, windows.ERROR_FILE_NOT_FOUND, windows.ERROR_PATH_NOT_FOUND} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// nextData: holes are read like everything else.
func nextData(_ *os.File, off int64) (int64, bool) { return off, false }

// kernelRelease names the running kernel.
func kernelRelease() (string, error) {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber), nil
}
