package machine

import "time"

// Seconds is a duration in JSON: a number of seconds, with a fraction.
type Seconds float64

// SecondsOf converts a duration.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration converts it back, rounded to a microsecond.
func (s Seconds) Duration() time.Duration {
	return (time.Duration(float64(s)*1e6) * time.Microsecond)
}
