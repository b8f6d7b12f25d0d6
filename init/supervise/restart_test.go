package supervise

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestARestartThatWasAskedForIsAtOnceAndNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exited := 0
		s := &Service{Name: "x", StopLimit: time.Second, Exited: func(string) { exited++ }}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var at []time.Duration
		var first *fake
		go func() {
			time.Sleep(5 * time.Second)
			s.Restart("me")
			s.Restart("you") // one with the first
			time.Sleep(5 * time.Second)
			cancel()
		}()
		s.loop(ctx, &s.st, newSink("x", io.Discard, "", nil), func() (process, error) {
			at = append(at, time.Since(began))
			f := newFake(0)
			if first == nil {
				first = f
			}
			return f, nil
		})
		if want := []time.Duration{0, 5 * time.Second}; !slices.Equal(at, want) || exited != 0 {
			t.Errorf("starts at %v, %d deaths, want %v and none", at, exited, want)
		}
		if len(first.heard) != 1 || first.heard[0] != unix.SIGTERM {
			t.Errorf("the first run heard %v, want SIGTERM", first.heard)
		}
		if i := s.Info(); i.PID != 0 || i.Ready || i.Restarts != 1 || !i.Since.Equal(began.Add(5*time.Second)) {
			t.Errorf("Info = %+v, want an ended second run", i)
		}
	})
}

func TestARestartCutsThePauseShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Name: "x"}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var at []time.Duration
		go func() {
			time.Sleep(2 * time.Second) // in the second pause, from 1 s to 3 s
			s.Restart("me")
		}()
		s.loop(ctx, &s.st, newSink("x", io.Discard, "", nil), func() (process, error) {
			if at = append(at, time.Since(began)); len(at) == 3 {
				cancel()
			}
			return nil, fmt.Errorf("no such program")
		})
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("starts at %v, want %v", at, want)
		}
		if i := s.Info(); i.LastExit != "no such program" || i.Restarts != 2 {
			t.Errorf("Info = %+v", i)
		}
	})
}
