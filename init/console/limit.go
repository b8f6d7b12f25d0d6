package console

import (
	"sync"
	"time"
)

// Limit is a token bucket: at most Burst events at once, one more every Every.
// The zero value lets nothing through. Safe for use by several goroutines.
type Limit struct {
	Burst int
	Every time.Duration

	mu      sync.Mutex
	tokens  int
	last    time.Time
	started bool
	held    int
}

// Allow reports whether an event may pass now, and how many were held back since the
// last one that passed.
func (l *Limit) Allow() (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.started {
		l.started, l.tokens, l.last = true, l.Burst, now
	}
	if l.Every > 0 {
		if n := int(now.Sub(l.last) / l.Every); n > 0 {
			l.tokens = min(l.Burst, l.tokens+n)
			l.last = l.last.Add(time.Duration(n) * l.Every)
		}
	}
	if l.tokens <= 0 {
		l.held++
		return 0, false
	}
	l.tokens--
	held, l.held = l.held, 0
	return held, true
}
