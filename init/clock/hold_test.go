package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestHoldSetsTheFloorEachTimeTheClockWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sets := make(chan error)
		floors := 0
		var said []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			hold(ctx, func() error { return <-sets }, func() (bool, error) {
				floors++
				return floors == 2, nil
			}, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		}()
		synctest.Wait()
		for want := 1; want <= 3; want++ {
			if floors != want {
				t.Errorf("%d floors after the clock was set %d times, want %d", floors, want-1, want)
			}
			sets <- nil
			synctest.Wait()
		}
		if len(said) != 1 {
			t.Errorf("said %q, want one line for the one time the clock was behind", said)
		}
		cancel()
		sets <- os.ErrClosed
		<-done
		if floors != 4 || len(said) != 1 {
			t.Errorf("%d floors, said %q after the end, want 4 and one line", floors, said)
		}
	})
}

func TestHoldLeavesTheClockAloneOnceReleased(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	floors := 0
	hold(ctx, func() error { cancel(); return nil }, func() (bool, error) { floors++; return false, nil }, t.Logf)
	if floors != 1 {
		t.Errorf("%d floors, want only the one before the release", floors)
	}
}

// That a clock that is set ends the wait cannot be shown without setting this machine's.
func TestWaitSetEndsWhenItIsClosed(t *testing.T) {
	w, err := watchSet()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- waitSet(w) }()
	select {
	case err := <-got:
		t.Fatalf("waitSet = %v at once, although nobody has set the clock", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.Close()
	select {
	case err := <-got:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("waitSet = %v, want os.ErrClosed", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waitSet does not end")
	}
}
