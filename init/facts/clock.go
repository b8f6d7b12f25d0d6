package facts

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/machine"
)

// Clock fills in what the kernel knows of the clock: now, what is left to correct, how far off it may be, and the
// battery-backed clock.
// Source: adjtimex(2).
func (r Roots) Clock(t *machine.Time) error {
	t.Now = time.Now().UTC()
	if s := number(r.Sys, "class/rtc/rtc0/since_epoch"); s > 0 {
		t.RTC = time.Unix(s, 0).UTC()
	}
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return os.NewSyscallError("adjtimex", err)
	}
	if tx.Status&unix.STA_UNSYNC != 0 {
		return nil
	}
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	offset := machine.SecondsOf(time.Duration(tx.Offset) * unit)
	most := machine.SecondsOf(time.Duration(tx.Maxerror) * time.Microsecond)
	t.Offset, t.Error = &offset, &most
	return nil
}
