package sequence

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type recorder struct {
	mu    sync.Mutex
	steps []string
}

func (r *recorder) Step(name string, _ time.Duration, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		name += " failed"
	}
	r.steps = append(r.steps, name)
	return nil
}

func (r *recorder) Status(string) error { return nil }

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.steps)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// after is a Setup or Ready that takes d.
func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestComponentsStartOnceWhatTheyNeedIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		ctx, stop := context.WithCancel(t.Context())
		var ready time.Duration
		began := time.Now()
		err := Run(ctx, quiet, r, []Component{
			{Name: "slow", Setup: after(3 * time.Second), Run: untilDone},
			{Name: "quick", Run: untilDone, Ready: after(time.Second)},
			{Name: "third", After: []string{"slow", "quick"}, Run: untilDone, Ready: after(time.Second)},
		}, func(context.Context) error {
			ready = time.Since(began)
			stop()
			return nil
		})
		if err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if got, want := r.seen(), []string{"quick", "slow", "third"}; !slices.Equal(got, want) {
			t.Errorf("steps = %v, want %v", got, want)
		}
		if ready != 4*time.Second {
			t.Errorf("ready after %v, want 4s", ready)
		}
	})
}

var errBroken = errors.New("broken")

func TestOneFailureStopsAllAndIsNamed(t *testing.T) {
	for name, bad := range map[string]Component{
		"setup":          {Name: "bad", Setup: func(context.Context) error { return errBroken }},
		"run":            {Name: "bad", Run: func(context.Context) error { return errBroken }},
		"run, waiting":   {Name: "bad", Run: func(context.Context) error { return errBroken }, Ready: untilDone},
		"ready":          {Name: "bad", Run: untilDone, Ready: func(context.Context) error { return errBroken }},
		"returns":        {Name: "bad", Run: func(context.Context) error { return nil }},
		"panic":          {Name: "bad", Run: func(context.Context) error { panic(errBroken) }},
		"panic in setup": {Name: "bad", Setup: func(context.Context) error { panic(errBroken) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopped := false
				err := Run(t.Context(), quiet, &recorder{}, []Component{
					{Name: "good", Run: func(ctx context.Context) error {
						<-ctx.Done()
						stopped = true
						return nil
					}},
					bad,
					{Name: "never", After: []string{"bad"}, Setup: after(time.Second), Run: untilDone},
				}, func(context.Context) error { return nil })
				var f *Failure
				if !errors.As(err, &f) || f.Component != "bad" {
					t.Errorf("Run() = %v, want a failure of bad", err)
				}
				if !stopped {
					t.Error("the other component was not stopped")
				}
			})
		})
	}
}

func TestStopDoesNotWaitForeverForAComponent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		release := make(chan struct{})
		var stopping time.Time
		err := Run(ctx, quiet, &recorder{}, []Component{
			{Name: "stubborn", Run: func(context.Context) error { <-release; return nil }},
		}, func(context.Context) error {
			stopping = time.Now()
			stop()
			return nil
		})
		if got := time.Since(stopping); err != nil || got != StopTimeout {
			t.Errorf("Run() = %v after %v, want nil after %v", err, got, StopTimeout)
		}
		close(release)
	})
}

func TestOrderThatCannotWorkIsRefused(t *testing.T) {
	for name, list := range map[string][]Component{
		"unknown": {{Name: "a", After: []string{"b"}}},
		"later":   {{Name: "a", After: []string{"b"}}, {Name: "b"}},
		"itself":  {{Name: "a", After: []string{"a"}}},
		"twice":   {{Name: "a"}, {Name: "a"}},
	} {
		if err := Run(t.Context(), quiet, &recorder{}, list, func(context.Context) error { return nil }); err == nil {
			t.Errorf("%s: Run() = nil, want an error", name)
		}
	}
}
