package step

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceKernel is the time since the kernel started.
func SinceKernel() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
