package upgrade

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the root has no zoneinfo
)

// window is a span of the day. It opens at Start on each of Days and closes at the next End.
type window struct {
	Start    string   `json:"start"` // HH:MM
	End      string   `json:"end"`   // HH:MM; not after Start: on the next day
	TimeZone string   `json:"timeZone,omitempty"`
	Days     []string `json:"days,omitempty"` // Mon … Sun; none: every day
}

// at says whether the window is open, and if not when it opens next.
func (w *window) at(now time.Time) (open bool, next time.Time, err error) {
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("spec.window.timeZone: %w: expected a name of the IANA database such as Europe/Berlin", err)
	}
	start, err := time.Parse("15:04", w.Start)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("spec.window.start: %w: expected HH:MM", err)
	}
	end, err := time.Parse("15:04", w.End)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("spec.window.end: %w: expected HH:MM", err)
	}
	local := now.In(zone)
	// From yesterday's, which may still be open, to the one of this day in a week.
	for day := -1; day <= 7; day++ {
		on := func(clock time.Time, plus int) time.Time {
			return time.Date(local.Year(), local.Month(), local.Day()+day+plus, clock.Hour(), clock.Minute(), 0, 0, zone)
		}
		from, to := on(start, 0), on(end, 0)
		if !end.After(start) {
			to = on(end, 1)
		}
		if len(w.Days) > 0 && !slices.Contains(w.Days, from.Format("Mon")) {
			continue
		}
		if now.Before(from) {
			return false, from, nil
		}
		if now.Before(to) {
			return true, time.Time{}, nil
		}
	}
	return false, time.Time{}, fmt.Errorf("spec.window.days: %q has no day: expected some of Mon, Tue, Wed, Thu, Fri, Sat, Sun", w.Days)
}
