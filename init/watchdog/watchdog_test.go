package watchdog

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// driver is a watchdog's answers to WDIOC_SETTIMEOUT and WDIOC_GETTIMEOUT.
// Source: Linux, drivers/watchdog/watchdog_dev.c.
type driver struct {
	set      func(seconds int32) (is int32, err error)
	get      int32 // 0: not supported
	attempts int
}

func (d *driver) ioctl(req uintptr, v *int32) error {
	switch {
	case req == unix.WDIOC_SETTIMEOUT:
		d.attempts++
		is, err := d.set(*v)
		if err == nil {
			*v, d.get = is, is
		}
		return err
	case d.get == 0:
		return unix.EOPNOTSUPP
	}
	*v = d.get
	return nil
}

func TestTheTimeoutIsTheFirstTheDriverTakes(t *testing.T) {
	upTo := func(limit int32) func(int32) (int32, error) {
		return func(s int32) (int32, error) {
			if s > limit {
				return 0, unix.EINVAL
			}
			return s, nil
		}
	}
	for _, c := range []struct {
		name     string
		d        driver
		seconds  time.Duration
		attempts int
	}{
		{"takes everything", driver{set: upTo(1000)}, 15, 1},
		{"bcm2835_wdt, 15 s at most", driver{set: upTo(15)}, 15, 1},
		{"sunxi_wdt, 16 s at most", driver{set: upTo(16)}, 15, 1},
		{"12 s at most", driver{set: upTo(12)}, 10, 2},
		{"dw_wdt, powers of two", driver{set: func(int32) (int32, error) { return 44, nil }}, 44, 1},
		{"sets what it can", driver{set: func(s int32) (int32, error) { return min(s, 8), nil }}, 8, 1},
		{"5 s at most", driver{set: upTo(5), get: 5}, 5, 2},
		{"cannot be set", driver{set: upTo(0), get: 60}, 60, 2},
		{"tells nothing", driver{set: upTo(0)}, 10, 2},
	} {
		if got := agree(c.d.ioctl); got != c.seconds*time.Second || c.d.attempts != c.attempts {
			t.Errorf("%s: agree = %v after %d attempts, want %v after %d", c.name, got, c.d.attempts, c.seconds*time.Second, c.attempts)
		}
	}
}
