package clock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// savedName is the file in the state folder that holds the time last saved: RFC 3339,
// UTC, one line.
const savedName = "clock"

// maxSaved is the most that is read of the saved time.
const maxSaved = 64

// sysRTC is where the kernel shows the first real-time clock's time in seconds since 1970.
const sysRTC = "/sys/class/rtc/rtc0/since_epoch"

// Floor sets the system clock to the later of buildTime and the time last saved in
// stateDir, if the clock is behind it. changed says whether it was. An empty stateDir
// means that no state partition is there yet: buildTime alone counts; calling again
// later is fine.
//
// A saved time that cannot be read or parsed is reported as an error, and the rest is
// done all the same: the caller logs it and goes on.
func Floor(buildTime time.Time, stateDir string) (changed bool, err error) {
	floor, err := floorTime(buildTime, stateDir)
	if !time.Now().Before(floor) {
		return false, err
	}
	ts := unix.NsecToTimespec(floor.UnixNano())
	if serr := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); serr != nil {
		return false, errors.Join(err, fmt.Errorf("set clock to %s: %w", floor.UTC().Format(time.RFC3339), os.NewSyscallError("clock_settime", serr)))
	}
	return true, err
}

// Trusted says whether the board has a real-time clock that shows a time at or after
// the floor: the later of buildTime and the time last saved in stateDir. If not, the
// system clock is a guess, and PID 1 waits for NTP before certificates are made.
// It looks at the RTC, not at the system clock, so Floor may have run before.
func Trusted(buildTime time.Time, stateDir string) bool {
	floor, _ := floorTime(buildTime, stateDir)
	rtc, err := readRTC(sysRTC)
	return err == nil && !rtc.Before(floor)
}

// Save writes the present time to stateDir, for the next boot's Floor. The file is
// replaced whole and synced. It writes flash, so call it rarely: at shutdown; a running
// Clock does it by itself once an hour.
func Save(stateDir string) error {
	return save(stateDir, time.Now())
}

func save(stateDir string, now time.Time) (err error) {
	path := filepath.Join(stateDir, savedName)
	f, err := os.CreateTemp(stateDir, savedName+".*")
	if err != nil {
		return fmt.Errorf("save clock: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save clock: %w", errors.Join(err, f.Close(), os.Remove(f.Name())))
		}
	}()
	if _, err := f.WriteString(now.UTC().Format(time.RFC3339) + "\n"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// floorTime returns the later of buildTime and the saved time; with an error, what is
// known without the saved one.
func floorTime(buildTime time.Time, stateDir string) (time.Time, error) {
	if stateDir == "" {
		return buildTime, nil
	}
	saved, err := readSaved(filepath.Join(stateDir, savedName))
	if errors.Is(err, fs.ErrNotExist) {
		return buildTime, nil
	}
	if err != nil {
		return buildTime, fmt.Errorf("read the time last saved: %w", err)
	}
	if saved.After(buildTime) {
		return saved, nil
	}
	return buildTime, nil
}

func readSaved(path string) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSaved))
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: got %q, want an RFC 3339 time", path, b)
	}
	return t, nil
}

func readRTC(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, err
	}
	s, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: got %q, want seconds since 1970", path, b)
	}
	return time.Unix(s, 0), nil
}
