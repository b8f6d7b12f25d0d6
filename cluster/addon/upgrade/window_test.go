package upgrade

import (
	"strings"
	"testing"
	"time"
)

func TestTheWindowOpensAndClosesByItsZonesClock(t *testing.T) {
	night := &window{Start: "22:00", End: "05:00", TimeZone: "Europe/Berlin"}
	weekend := &window{Start: "22:00", End: "05:00", Days: []string{"Fri", "Sat"}}
	day := &window{Start: "09:30", End: "17:00"}
	for _, c := range []struct {
		name string
		w    *window
		now  string // RFC 3339
		next string // when it opens; empty: it is open
	}{
		{"evening before", night, "2026-11-25T20:59:59Z", "2026-11-25T21:00:00Z"},
		{"at its start", night, "2026-11-25T21:00:00Z", ""},
		{"past midnight", night, "2026-11-26T03:59:59Z", ""},
		{"at its end", night, "2026-11-26T04:00:00Z", "2026-11-26T21:00:00Z"},
		{"summer time", night, "2026-07-01T20:00:00Z", ""},
		{"the morning after a day", weekend, "2026-11-28T04:00:00Z", ""},                          // Saturday
		{"the morning of the first day", weekend, "2026-11-27T04:00:00Z", "2026-11-27T22:00:00Z"}, // Friday
		{"the evening of no day", weekend, "2026-11-29T23:00:00Z", "2026-12-04T22:00:00Z"},        // Sunday
		{"before a day's", day, "2026-11-25T09:29:00Z", "2026-11-25T09:30:00Z"},
		{"in a day's", day, "2026-11-25T16:59:00Z", ""},
		{"after a day's", day, "2026-11-25T17:00:00Z", "2026-11-26T09:30:00Z"},
		{"a week later", &window{Start: "10:00", End: "11:00", Days: []string{"Wed"}}, "2026-11-25T11:00:00Z", "2026-12-02T10:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		open, next, err := c.w.at(now)
		got := ""
		if !open {
			got = next.UTC().Format(time.RFC3339)
		}
		if err != nil || got != c.next {
			t.Errorf("%s: opens %q, %v, want %q", c.name, got, err, c.next)
		}
	}
}

func TestAWindowThatCannotBeIsNamed(t *testing.T) {
	for _, c := range []struct {
		w    window
		want string
	}{
		{window{Start: "22:00", End: "05:00", TimeZone: "Berlin"}, "spec.window.timeZone"},
		{window{Start: "24:00", End: "05:00"}, "spec.window.start"},
		{window{Start: "22:00", End: "5"}, "spec.window.end"},
		{window{Start: "22:00", End: "05:00", Days: []string{"Someday"}}, "spec.window.days"},
	} {
		if _, _, err := c.w.at(time.Now()); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error about %s", c.w, err, c.want)
		}
	}
}
