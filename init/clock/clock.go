package clock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// stepOver is the error from which the clock is stepped, and below which it is slewed.
	stepOver = 500 * time.Millisecond
	// firstPoll and lastPoll bound the time between two measurements once synchronised.
	firstPoll = 64 * time.Second
	lastPoll  = 1024 * time.Second
	// firstRetry and lastRetry bound the time between two attempts when nobody answers.
	firstRetry = time.Second
	lastRetry  = 64 * time.Second
	// steady is the error below which the time between measurements is doubled.
	steady = 25 * time.Millisecond
	// saveEvery is the time between two saves of the floor: each is a write to flash.
	saveEvery = time.Hour
	// buildAhead is how far the clock of who built the system may have been ahead.
	buildAhead = 365 * 24 * time.Hour
)

// Clock is NTP in the background. All methods may be called from any goroutine.
type Clock struct {
	oldest   time.Time // no answer before it is believed
	servers  func() []string
	stateDir string
	log      func(format string, args ...any)
	measure  func(context.Context, []string) (sample, error)
	step     func(time.Duration) error
	slew     func(time.Duration, time.Duration) error
	setRTC   func() error
	save     func() error
	release  func() // ends Hold

	once   sync.Once
	synced chan struct{} // closed at the first success
	done   chan struct{} // closed when the goroutine has ended
}

// Start keeps the clock by NTP until ctx ends: a first answer that is off by more than
// half a second steps it, as does every later one; smaller errors are slewed. After a
// step the time is written to the real-time clock. Until the first answer the clock is
// held at the floor (see Hold). An answer far before
// buildTime is not believed: a router that has lost its own clock answers with 1970.
// servers is asked before every measurement (see Servers), so that servers that DHCP
// names later are used; none means: look again later. stateDir gets the floor once an
// hour; empty: never. log gets one line per change: synchronised, stepped, nobody answers.
func Start(ctx context.Context, buildTime time.Time, servers func() []string, stateDir string, log func(format string, args ...any)) *Clock {
	c := &Clock{oldest: buildTime.Add(-buildAhead), servers: servers, stateDir: stateDir, log: log, measure: measure, step: step, slew: slew}
	c.setRTC = func() error { return writeRTC(rtcDevice, time.Now()) }
	c.save = func() error { return Save(stateDir) }
	held, release := context.WithCancel(ctx)
	c.release = release
	go Hold(held, buildTime, stateDir, log)
	c.start(ctx)
	return c
}

func (c *Clock) start(ctx context.Context) {
	c.synced, c.done = make(chan struct{}), make(chan struct{})
	go c.run(ctx)
}

// ErrOff means that the configuration names no NTP server: there is nothing to wait for.
var ErrOff = errors.New("NTP is off")

// WaitSynced returns nil once the clock was set by NTP, ErrOff at once if there are no
// servers, or else an error that wraps ctx's.
func (c *Clock) WaitSynced(ctx context.Context) error {
	if len(c.servers()) == 0 {
		return ErrOff
	}
	select {
	case <-c.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for NTP (servers %q): %w", c.servers(), ctx.Err())
	case <-c.done:
		return fmt.Errorf("wait for NTP: %w", context.Canceled)
	}
}

// Synced says whether the clock was set by NTP.
func (c *Clock) Synced() bool {
	select {
	case <-c.synced:
		return true
	default:
		return false
	}
}

func (c *Clock) run(ctx context.Context) {
	defer close(c.done)
	poll, retry := firstPoll, firstRetry
	var saved time.Time // monotonic; zero: not yet
	silent := false
	for {
		servers := c.servers()
		wait := retry
		if len(servers) > 0 {
			s, err := c.measure(ctx, servers)
			if err == nil {
				err = c.apply(s, poll)
			}
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				if !silent {
					c.log("clock: NTP: %v; still trying", err)
				}
				silent = true
				retry = min(2*retry, lastRetry)
			default:
				if silent {
					c.log("clock: NTP answers again")
				}
				silent = false
				c.once.Do(func() {
					c.log("clock: synchronised by NTP (stratum %d), was off by %v", s.stratum, s.offset.Round(time.Millisecond))
					close(c.synced)
				})
				if s.offset.Abs() < steady {
					poll = min(2*poll, lastPoll)
				} else {
					poll = firstPoll
				}
				retry, wait = firstRetry, poll
				if c.stateDir != "" && (saved.IsZero() || time.Since(saved) >= saveEvery) {
					saved = time.Now()
					if err := c.save(); err != nil {
						c.log("clock: %v", err)
					}
				}
			}
		}
		if c.sleep(ctx, servers, wait) != nil {
			return
		}
	}
}

// sleep waits d, give or take a tenth, so that many nodes started together do not ask
// together. Until the clock is synchronised it looks once a second whether DHCP has
// named other servers by now, and does not wait longer if so.
func (c *Clock) sleep(ctx context.Context, servers []string, d time.Duration) error {
	d += time.Duration((rand.Float64() - 0.5) * 0.2 * float64(d))
	end := time.NewTimer(d)
	defer end.Stop()
	var look <-chan time.Time
	if !c.Synced() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-look:
			if !slices.Equal(servers, c.servers()) {
				return nil
			}
		}
	}
}

// apply steps or slews the clock by s. A real-time clock that cannot be set is no
// reason to distrust the system clock, so that is only logged.
func (c *Clock) apply(s sample, poll time.Duration) error {
	if t := time.Now().Add(s.offset); t.Before(c.oldest) {
		return fmt.Errorf("the answer is %s, long before this system was built", t.UTC().Format(time.RFC3339))
	}
	c.release() // an answer may also say that the floor was too late
	if s.offset.Abs() <= stepOver {
		return c.slew(s.offset, poll)
	}
	if c.Synced() {
		c.log("clock: off by %v, stepping", s.offset.Round(time.Millisecond))
	}
	if err := c.step(s.offset); err != nil {
		return err
	}
	if err := c.setRTC(); err != nil {
		c.log("clock: %v", err)
	}
	return nil
}
