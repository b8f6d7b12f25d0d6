// Package watchdog feeds the machine's hardware watchdog while PID 1 is healthy, so that a
// machine that hangs is restarted.
package watchdog

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Path is the first watchdog.
const Path = "/dev/watchdog"

const (
	// feeds is how often it is fed per timeout.
	feeds = 4
)

// timeouts are what is asked for, in seconds, the first that the driver takes: it is how
// long the hardware waits for us. A Raspberry Pi's takes 15 at most, an Allwinner's 16;
// some drivers refuse more, others set what they can. A PC's (TCO) lets the time pass twice
// before it resets, and an upgrade that hangs has three tries until the old system is back.
var timeouts = []int32{15, 10}

// Dog is an open watchdog that is fed by its own goroutine.
type Dog struct {
	f       *os.File
	every   time.Duration
	timeout time.Duration
	name    string

	mu     sync.Mutex
	closed bool
}

// Open opens the watchdog at Path, which starts it. fs.ErrNotExist: the machine has none,
// load softdog.
func Open() (*Dog, error) {
	f, err := os.OpenFile(Path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	d := &Dog{f: f, name: "unknown"}
	if info, err := unix.IoctlGetWatchdogInfo(int(f.Fd())); err == nil {
		d.name = unix.ByteSliceToString(info.Identity[:])
	}
	d.timeout = agree(d.ioctl)
	d.every = max(d.timeout/feeds, time.Second)
	return d, nil
}

// agree sets a timeout and returns it. ioctl is the device's; it answers in v.
func agree(ioctl func(req uintptr, v *int32) error) time.Duration {
	for _, seconds := range timeouts {
		if ioctl(unix.WDIOC_SETTIMEOUT, &seconds) == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
	}
	// The driver's own then.
	var seconds int32
	if ioctl(unix.WDIOC_GETTIMEOUT, &seconds) != nil || seconds <= 0 {
		seconds = timeouts[len(timeouts)-1]
	}
	return time.Duration(seconds) * time.Second
}

func (d *Dog) ioctl(req uintptr, v *int32) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), req, uintptr(unsafe.Pointer(v)))
	if errno != 0 {
		return errno
	}
	return nil
}

// String is a note for the boot table.
func (d *Dog) String() string { return fmt.Sprintf("%s, %v", d.name, d.timeout) }

// Run feeds the watchdog while healthy returns nil, until ctx is done. When it does not,
// say tells why, once, and the machine restarts within the timeout unless it gets healthy
// again. After ctx the watchdog still runs: Close stops it, or it ends a shutdown that
// hangs.
func (d *Dog) Run(ctx context.Context, healthy func() error, say func(format string, args ...any)) {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	sick := false
	for {
		err := healthy()
		switch {
		case err == nil:
			if sick {
				say("watchdog: healthy again")
			}
			sick = false
			d.Feed()
		case !sick:
			sick = true
			say("watchdog: not fed: %v; the machine restarts in %v unless this ends", err, d.timeout)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Feed gives the machine another timeout.
func (d *Dog) Feed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		unix.IoctlWatchdogKeepalive(int(d.f.Fd()))
	}
}

// Close stops the watchdog, as far as the hardware lets itself be stopped.
// Source: Documentation/watchdog/watchdog-api.rst, "Magic Close".
func (d *Dog) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	d.f.Write([]byte("V"))
	d.f.Close()
}
