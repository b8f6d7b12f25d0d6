package supervise

import "time"

const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// longRun is a run after which a death counts as the first again.
	longRun = time.Minute
	// readyRun is the same for a service that had got ready.
	readyRun = 10 * time.Second
)

// backoff is the pause before the next start; the zero value is ready.
type backoff struct{ pause time.Duration }

// next returns the pause after a run of the given length.
func (b *backoff) next(ran time.Duration, wasReady bool) time.Duration {
	if b.pause == 0 || ran >= longRun || wasReady && ran >= readyRun {
		b.pause = firstPause
	} else {
		b.pause = min(2*b.pause, lastPause)
	}
	return b.pause
}
