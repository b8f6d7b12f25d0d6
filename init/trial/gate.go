package trial

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/keelson-os/keelson/init/supervise"
)

const (
	// DefaultLimit is how long a boot may take to prove itself, from PID 1's start on.
	DefaultLimit = 10 * time.Minute
	// Hold is how long every condition must hold unbroken.
	Hold = 60 * time.Second
	// stall is how long the node process may be without any progress before it is ready. A longer limit than the default
	// makes it longer as well. With the boots before and after it, an old system has to be back within five minutes.
	stall = 2 * time.Minute
	// deaths is how often the node process may end, ready or not: one that cannot hold for Hold is not good.
	deaths = 5
	// fresh is how long the node's word that it is healthy counts: it comes every 30 s, and one may be lost.
	fresh = 75 * time.Second
	// look is the time between two looks at the conditions.
	look = time.Second
	// statusesMax bounds how many different messages of the node count as progress.
	statusesMax = 500
)

// Condition is something that must hold for a boot to be good.
type Condition struct {
	Name  string
	Holds func() error // must not block
}

// Gate watches a boot. Its methods may be called from any goroutine; a nil *Gate takes what it is told and does nothing.
type Gate struct {
	limit      time.Duration
	conditions []Condition

	mu       sync.Mutex
	began    time.Time
	progress time.Time // of the last progress
	last     string    // what it was
	seen     map[string]bool
	ready    bool // the present run of the node process has said so
	everOnce bool // an earlier or the present run has
	healthy  bool
	reason   string    // why not healthy
	heard    time.Time // when the node said so
	status   string    // its last word
	died     int       // deaths of the node process
	lastExit string
	failed   string // by Fail
	since    time.Time
	waiting  string
}

// NewGate returns a gate that begins now. limit 0 is DefaultLimit.
func NewGate(limit time.Duration, conditions ...Condition) *Gate {
	if limit <= 0 {
		limit = DefaultLimit
	}
	now := time.Now()
	return &Gate{limit: limit, conditions: conditions, began: now, progress: now, last: "PID 1 started", seen: map[string]bool{}}
}

// FailedError is a boot that has not proved itself.
type FailedError struct{ Reason string }

func (e *FailedError) Error() string { return e.Reason }

// Step tells the gate of a finished step of the boot.
func (g *Gate) Step(name string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.advance("step " + name)
}

// Fail ends the gate: the boot cannot become good.
func (g *Gate) Fail(reason string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == "" {
		g.failed = reason
	}
}

// Started tells the gate that the node process was started.
func (g *Gate) Started() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready, g.healthy, g.reason, g.status = false, false, "", ""
}

// Exited tells the gate that the node process has ended.
func (g *Gate) Exited(reason string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.died++
	g.ready, g.healthy, g.lastExit = false, false, reason
}

// Heard tells the gate of a message of the node process.
func (g *Gate) Heard(m supervise.Message) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range m.Steps {
		// A step that fails, or that a process which dies again and again does once more, is no progress.
		if s.Error == "" {
			g.once("node/" + s.Name)
		}
	}
	if m.Status != "" {
		g.status = m.Status
		g.once(digitless(m.Status))
	}
	if m.Ready {
		g.ready, g.everOnce = true, true
		g.advance("node ready")
	}
	if m.Health != nil {
		g.healthy, g.reason, g.heard = m.Health.OK, m.Health.Reason, time.Now()
	}
}

// once counts what was not seen before as progress.
func (g *Gate) once(what string) {
	if g.seen[what] || len(g.seen) >= statusesMax {
		return
	}
	g.seen[what] = true
	g.advance(what)
}

func (g *Gate) advance(what string) { g.progress, g.last = time.Now(), what }

// digitless makes texts that differ by their numbers alone the same: "waiting for x (41 s)" is no news after 9 s.
func digitless(s string) string {
	var b strings.Builder
	digits := false
	for _, r := range s {
		digit := r >= '0' && r <= '9'
		if digit && !digits {
			b.WriteByte('#')
		}
		if !digit {
			b.WriteRune(r)
		}
		digits = digit
	}
	return b.String()
}

// Run returns nil when every condition has held for Hold, a *FailedError when the boot is given up, or ctx's error.
func (g *Gate) Run(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		done, err := g.turn()
		if done || err != nil {
			return err
		}
	}
}

// turn looks at everything once.
func (g *Gate) turn() (passed bool, err error) {
	missing := g.missing() // before the lock is taken: conditions are others' code
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if missing == nil {
		missing = g.node(now)
	}
	if missing == nil {
		g.waiting = ""
		if g.since.IsZero() {
			g.since = now
		}
		if g.failed == "" && now.Sub(g.since) >= Hold {
			return true, nil
		}
	} else {
		g.waiting, g.since = missing.Error(), time.Time{}
	}
	if why := g.giveUp(now); why != "" {
		return false, &FailedError{why}
	}
	return false, nil
}

func (g *Gate) missing() error {
	for _, c := range g.conditions {
		if err := c.Holds(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// node returns what the node process lacks.
func (g *Gate) node(now time.Time) error {
	switch {
	case !g.ready && g.status != "":
		return fmt.Errorf("node process not ready: %s", g.status)
	case !g.ready && g.lastExit != "":
		return fmt.Errorf("node process not ready; its last run %s", g.lastExit)
	case !g.ready:
		return errors.New("node process not ready")
	case g.heard.IsZero():
		return errors.New("node has not said yet that it is healthy")
	case !g.healthy:
		return fmt.Errorf("node not healthy: %s", g.reason)
	case now.Sub(g.heard) > fresh:
		return fmt.Errorf("node has said nothing for %v", now.Sub(g.heard).Round(time.Second))
	}
	return nil
}

// giveUp returns why there is no more waiting.
func (g *Gate) giveUp(now time.Time) string {
	switch idle := now.Sub(g.progress); {
	case g.failed != "":
		return g.failed
	case g.died >= deaths:
		return fmt.Sprintf("the node process ended %d times; the last run %s", g.died, g.lastExit)
	case !g.everOnce && idle >= g.stall():
		return fmt.Sprintf("no progress for %v since %s: %s", idle.Round(time.Second), g.last, g.waitingFor())
	case now.Sub(g.began) >= g.limit && g.since.IsZero():
		return fmt.Sprintf("not good within %v: %s", g.limit, g.waitingFor())
	}
	return ""
}

func (g *Gate) stall() time.Duration { return max(stall, g.limit/5) }

func (g *Gate) waitingFor() string {
	if g.waiting == "" {
		return "the conditions held for less than " + Hold.String()
	}
	return g.waiting
}

// Report is where a gate is.
type Report struct {
	Began   time.Time
	Left    time.Duration // until it gives up
	Waiting string        // what does not hold; empty: everything does since Since
	Since   time.Time
}

// Report tells where the gate is.
func (g *Gate) Report() Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Report{Began: g.began, Left: max(0, g.limit-time.Since(g.began)), Waiting: g.waiting, Since: g.since}
}
