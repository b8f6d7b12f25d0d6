package health

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStuckMainLoopIsUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(nil)
		time.Sleep(loopLimit)
		if err := c.Healthy(); err != nil {
			t.Errorf("after %v: %v", loopLimit, err)
		}
		time.Sleep(time.Second)
		if c.Healthy() == nil {
			t.Errorf("after %v: healthy", loopLimit+time.Second)
		}
		c.Tick()
		if err := c.Healthy(); err != nil {
			t.Errorf("after a turn: %v", err)
		}
	})
}

// minute turns the main loop for a minute and asks every second.
func minute(c *Check) (last error) {
	for range 60 {
		time.Sleep(time.Second)
		c.Tick()
		last = c.Healthy()
	}
	return last
}

func TestStatePartitionIsProbedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, probes := 0, 0
		var result error
		c := New(func(probe bool) error {
			looks++
			if probe {
				probes++
			}
			return result
		})
		for range 60 {
			if err := minute(c); err != nil {
				t.Fatal(err)
			}
		}
		if looks < 300 || probes < 5 || probes > 6 {
			t.Errorf("%d looks, %d probes in an hour; want about 360 and 6", looks, probes)
		}
		result = errors.New("read-only")
		if err := minute(c); !errors.Is(err, result) {
			t.Errorf("Healthy = %v, want %v", err, result)
		}
		result = nil
		if err := minute(c); err != nil {
			t.Errorf("after recovery: %v", err)
		}
	})
}

func TestAHangingDiskIsUnhealthyWithoutBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := New(func(bool) error { <-release; return nil })
		for n := range 4 {
			if err := minute(c); err != nil {
				t.Errorf("after %d minutes: %v, want patience", n+1, err)
			}
		}
		if err := errors.Join(minute(c), minute(c)); err == nil {
			t.Error("after six minutes: healthy")
		}
		close(release)
		synctest.Wait()
	})
}
