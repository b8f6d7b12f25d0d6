package uevent

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// rcvbuf is the socket's buffer in bytes: a coldplug of a big machine must fit while
// modules load.
const rcvbuf = 2 << 20

// Socket receives events. One goroutine may use it at a time.
type Socket struct {
	f   *os.File
	buf []byte
}

// Listen opens a socket; events that happen from now on are queued.
func Listen() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket uevent", err)
	}
	// Group 1 is the kernel's own; udev uses group 2.
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind uevent", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf)
	}
	return &Socket{f: os.NewFile(uintptr(fd), "uevent"), buf: make([]byte, 16<<10)}, nil
}

// ErrLost is returned when the kernel dropped events: the caller has to look at /sys
// again. The socket goes on working.
var ErrLost = errors.New("uevent: events were lost")

// Receive waits for the next event until ctx is done. Messages that are not of the kernel
// are skipped.
func (s *Socket) Receive(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, func() { s.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		n, err := s.f.Read(s.buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, ErrLost
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() == nil { // left over from an earlier call's ctx
				s.f.SetReadDeadline(time.Time{})
			}
			continue
		case err != nil:
			return Event{}, err
		}
		e, err := Parse(s.buf[:n])
		if err == nil {
			return e, nil
		}
	}
}

// Close closes the socket.
func (s *Socket) Close() error { return s.f.Close() }
