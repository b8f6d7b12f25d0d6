package qemu

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// howToInstall says what brings a missing program or file.
func howToInstall(pkg string) string {
	return fmt.Sprintf("install the Debian package %s (apt-get install %s)", pkg, pkg)
}

// ownSession makes QEMU the leader of a session of its own: the terminal's Ctrl-C is for
// us, who power off cleanly. Unless it is to go on alone it dies with us.
func ownSession(detach bool) *unix.SysProcAttr {
	a := &unix.SysProcAttr{Setsid: true}
	if !detach {
		a.Pdeathsig = unix.SIGKILL
	}
	return a
}

// socketAddress returns the address of the control socket in a folder, through a
// descriptor of it: the path itself may be longer than a socket address can hold. Close
// the folder after dialling.
func socketAddress(folder *os.File) (string, error) {
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), socketName), nil
}

// peerPID asks the kernel who listens on the socket; a pid file could be stale.
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", cerr)
	}
	return int(cred.Pid), nil
}

// kvmUsable reports whether /dev/kvm can make a virtual machine at all.
func kvmUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	const kvmCreateVM = 0xAE01 // linux/kvm.h: _IO(KVMIO, 0x01)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmCreateVM, 0)
	if errno != 0 {
		return false
	}
	return unix.Close(int(fd)) == nil
}
