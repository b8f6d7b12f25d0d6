package system

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/watchdog"
)

const (
	// dogEvery is the time between two looks for a watchdog.
	dogEvery = 200 * time.Millisecond
	// dogWait is how long the drivers of the machine's devices may take before softdog stands
	// in: one that hangs must not keep the machine without any watchdog.
	dogWait = 60 * time.Second
)

// openWatchdog opens the machine's watchdog as soon as its driver is there; softdog, the
// kernel's own, stands in for a machine without one.
func (s *system) openWatchdog(ctx context.Context) {
	dog, err := s.findWatchdog(ctx)
	if err != nil {
		s.steps.Run("watchdog", func() (string, error) { return "", err })
		return
	}
	s.mu.Lock()
	late := dog == nil || s.ending != ""
	if !late {
		s.dog = dog
	}
	s.mu.Unlock()
	if late { // the shutdown does not know it and would not feed it
		if dog != nil {
			dog.Close()
		}
		return
	}
	s.steps.Run("watchdog", func() (string, error) { return dog.String(), nil })
	dog.Run(ctx, s.well.Healthy, s.sayWatchdog)
}

// findWatchdog returns nil when ctx is done.
func (s *system) findWatchdog(ctx context.Context) (*watchdog.Dog, error) {
	tick := time.NewTicker(dogEvery)
	defer tick.Stop()
	end := time.NewTimer(dogWait)
	defer end.Stop()
	for {
		dog, err := watchdog.Open()
		if !errors.Is(err, fs.ErrNotExist) {
			return dog, err
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
			continue
		case <-s.coldplugged:
		case <-end.C:
		}
		// The last drivers may have made one since the look above.
		if dog, err = watchdog.Open(); !errors.Is(err, fs.ErrNotExist) {
			return dog, err
		}
		s.loader.Load("softdog")
		return watchdog.Open()
	}
}

func (s *system) sayWatchdog(format string, args ...any) {
	s.con.Printf(format, args...)
	s.events.Add(control.EventWatchdog, format, args...)
}
