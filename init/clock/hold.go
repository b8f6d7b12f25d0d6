package clock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Hold, after Floor, does what Floor does whenever somebody has set the clock, until ctx is done. The
// kernel itself sets it from the first real-time clock, and where that one's driver is a
// module that may be long after Floor: boards have real-time clocks without a battery that
// begin in 1970 or 2013.
// Source: Linux, drivers/rtc/class.c, CONFIG_RTC_HCTOSYS.
func Hold(ctx context.Context, buildTime time.Time, stateDir string, log func(format string, args ...any)) {
	w, err := watchSet()
	if err != nil {
		log("clock: %v; a real-time clock that appears from now on may set it back", err)
		return
	}
	defer context.AfterFunc(ctx, func() { w.Close() })()
	defer w.Close()
	hold(ctx, func() error { return waitSet(w) }, func() (bool, error) { return Floor(buildTime, stateDir) }, log)
}

// hold calls floor at first, and again each time wait returns nil. Errors of the first time
// are those that Floor's caller knows.
func hold(ctx context.Context, wait func() error, floor func() (bool, error), log func(format string, args ...any)) {
	for first := true; ctx.Err() == nil; first = false {
		changed, err := floor()
		switch {
		case changed:
			log("clock: was set back; set to the last known time again")
		case err != nil && !first:
			log("clock: %v", err)
		}
		if err := wait(); err != nil {
			if ctx.Err() == nil {
				log("clock: %v", err)
			}
			return
		}
	}
}

// watchSet returns a timer that waitSet waits with.
func watchSet() (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	// It never ends: only that it is cancelled is of interest.
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		return nil, errors.Join(os.NewSyscallError("timerfd_settime", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "timer"), nil
}

// waitSet returns nil when the clock was set since watchSet or the last waitSet.
// Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.
func waitSet(w *os.File) error {
	var b [8]byte
	_, err := w.Read(b[:])
	if err == nil || errors.Is(err, unix.ECANCELED) {
		return nil
	}
	return fmt.Errorf("watch the clock: %w", err)
}
