// Package health answers whether PID 1 itself is well: its main loop turns and the state
// partition can be written. The node's health is the node's affair.
package health

import (
	"fmt"
	"sync"
	"time"
)

const (
	// loopLimit is how long the main loop may take for one turn.
	loopLimit = 15 * time.Second
	// quickEvery and probeEvery are the times between two looks at the state partition,
	// and between two that write to it: each of those is a write to flash.
	quickEvery = 10 * time.Second
	probeEvery = 10 * time.Minute
	// probeLimit is how long a look may take. A disk that resets needs half a minute; an SD
	// card of 10 MB/s needs minutes for what a pulled image leaves in memory, and a sync
	// may have to wait for all of it.
	probeLimit = 5 * time.Minute
)

// Check keeps the evidence. Safe for several goroutines.
type Check struct {
	writable func(probe bool) error

	mu      sync.Mutex
	loop    time.Time // last turn of the main loop
	looking time.Time // since when a look is under way; zero: none is
	looked  time.Time // end of the last look
	probed  time.Time // end of the last look that wrote
	err     error     // of the last look
}

// New returns a check that counts as healthy now. writable looks at the state partition;
// nil: there is none.
func New(writable func(probe bool) error) *Check {
	now := time.Now()
	return &Check{writable: writable, loop: now, looked: now, probed: now}
}

// Tick is called by the main loop at every turn.
func (c *Check) Tick() {
	c.mu.Lock()
	c.loop = time.Now()
	c.mu.Unlock()
}

// Healthy returns nil or what is wrong. It does not block: the state partition is looked
// at in the background.
func (c *Check) Healthy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if d := now.Sub(c.loop); d > loopLimit {
		return fmt.Errorf("main loop has been stuck for %v", d.Round(time.Second))
	}
	if c.writable == nil {
		return nil
	}
	if !c.looking.IsZero() {
		if d := now.Sub(c.looking); d > probeLimit {
			return fmt.Errorf("state partition has not answered for %v", d.Round(time.Second))
		}
		return c.err
	}
	if now.Sub(c.looked) >= quickEvery {
		c.looking = now
		go c.look(now.Sub(c.probed) >= probeEvery)
	}
	return c.err
}

func (c *Check) look(probe bool) {
	err := c.writable(probe)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking, c.looked, c.err = time.Time{}, time.Now(), err
	if probe && err == nil {
		c.probed = c.looked
	}
}
