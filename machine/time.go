package machine

import "time"

// Time is the answer to GET /v1/time.
type Time struct {
	Now          time.Time `json:"now"`          // the node's clock
	Synchronised bool      `json:"synchronised"` // set by NTP since boot
	Trusted      bool      `json:"trusted"`      // it was not behind the last known time at boot
	Servers      []string  `json:"servers"`      // that are asked; empty: NTP is off
	// Offset is what the kernel still has to correct; it is there when the clock is synchronised.
	Offset *Seconds `json:"offset,omitempty"`
	// Error bounds, by the kernel's estimate, how far off the clock may be.
	Error *Seconds `json:"error,omitempty"`
	// RTC is what the battery-backed clock says; zero: there is none.
	RTC time.Time `json:"rtc,omitzero"`
}
