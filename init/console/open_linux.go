package console

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// noctty keeps a console from becoming PID 1's controlling terminal, which would send it
// the signals of that terminal.
const noctty = syscall.O_NOCTTY | syscall.O_NONBLOCK

// noEcho keeps what somebody types from showing up: nobody reads it. Signals of keys (Ctrl-C) are off as well.
func noEcho(f *os.File) {
	control(f, func(fd int) {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return // no terminal: a test's file
		}
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ISIG
		unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
}

// size returns a terminal's rows and columns; 24 and 80 where it does not say, as a serial line.
func size(w io.Writer) (rows, cols int) {
	rows, cols = 24, 80
	if f, ok := w.(*os.File); ok {
		control(f, func(fd int) {
			if s, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && s.Row > 0 && s.Col > 0 {
				rows, cols = int(s.Row), int(s.Col)
			}
		})
	}
	return rows, cols
}

// control calls f with the file's descriptor, and unlike Fd leaves it as it is, non-blocking.
func control(f *os.File, do func(fd int)) {
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { do(int(fd)) })
	}
}
