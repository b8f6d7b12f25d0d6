package qemu

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// howToInstall says what brings a missing program or file; one package of Homebrew has all
// but U-Boot.
func howToInstall(string) string { return "install QEMU (brew install qemu)" }

// ownSession makes QEMU the leader of a session of its own: the terminal's Ctrl-C is for
// us, who power off cleanly. macOS has no way to let it die with us.
func ownSession(bool) *unix.SysProcAttr { return &unix.SysProcAttr{Setsid: true} }

func socketAddress(folder *os.File) (string, error) { return shortAddress(folder.Name()) }

// peerPID asks the kernel who listens on the socket; a pid file could be stale.
func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var pid int
	var gerr error
	if err := raw.Control(func(fd uintptr) {
		pid, gerr = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	}); err != nil {
		return 0, err
	}
	return pid, os.NewSyscallError("getsockopt LOCAL_PEERPID", gerr)
}

// kvmUsable: there is no KVM, so the processor is emulated.
func kvmUsable() bool { return false }
