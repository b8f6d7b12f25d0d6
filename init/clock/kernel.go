package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// rtcDevice is the first real-time clock.
const rtcDevice = "/dev/rtc0"

// step adds offset to the system clock at once and tells the kernel that it is right now.
func step(offset time.Duration) error {
	sec, nsec := offset/time.Second, offset%time.Second
	if nsec < 0 { // the kernel wants 0 <= nsec < 1e9
		sec, nsec = sec-1, nsec+time.Second
	}
	tx := unix.Timex{
		Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO,
		Time:  unix.Timeval{Sec: int64(sec), Usec: int64(nsec)}, // nanoseconds, by ADJ_NANO
	}
	if _, err := unix.Adjtimex(&tx); err != nil {
		return fmt.Errorf("step clock by %v: %w", offset, os.NewSyscallError("adjtimex", err))
	}
	return slew(0, firstPoll)
}

// slew hands offset (at most 0.5 s either way) to the kernel's clock discipline, with
// a time constant that fits measurements every poll. It also clears the kernel's
// "unsynchronised" mark, upon which the kernel writes the RTC every 11 minutes.
// Source: RFC 5905 §11.3, adjtimex(2); the time constant as ntpd and timesyncd take it.
func slew(offset, poll time.Duration) error {
	tx := unix.Timex{
		Modes:  unix.ADJ_STATUS | unix.ADJ_NANO | unix.ADJ_OFFSET | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		Status: unix.STA_PLL,
		Offset: int64(offset),
		// log2 of the poll interval, less 4.
		Constant: int64(max(0, bits.Len64(uint64(poll/time.Second))-5)),
	}
	if _, err := unix.Adjtimex(&tx); err != nil {
		return fmt.Errorf("slew clock by %v: %w", offset, os.NewSyscallError("adjtimex", err))
	}
	return nil
}

// writeRTC sets the real-time clock, which runs in UTC, to t. No such device: nil.
func writeRTC(path string, t time.Time) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set RTC: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t = t.UTC()
	rt := unix.RTCTime{
		Sec: int32(t.Second()), Min: int32(t.Minute()), Hour: int32(t.Hour()),
		Mday: int32(t.Day()), Mon: int32(t.Month()) - 1, Year: int32(t.Year()) - 1900,
		Isdst: -1,
	}
	if err := unix.IoctlSetRTCTime(int(f.Fd()), &rt); err != nil {
		return fmt.Errorf("set RTC: %w", &fs.PathError{Op: "ioctl RTC_SET_TIME", Path: path, Err: err})
	}
	return nil
}
