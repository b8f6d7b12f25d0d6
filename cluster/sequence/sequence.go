// Package sequence starts the node's components in order and watches over them.
//
//	waiting ──all of After are ready──▶ Setup ──▶ Run (own goroutine) ──▶ Ready ──▶ ready
//	                                      │             │                    │
//	                                      └──────error or early return───────┴──▶ everything stops
//
// A component is never restarted: upstream keeps global state that cannot be set twice.
// The process ends instead, with the component's name in its last line, and PID 1 starts
// it anew while the pods keep running.
package sequence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Component is one part of the node. Name is shown to people; it has no white space.
type Component struct {
	Name string
	// After names components that must be ready first. They must stand before this one in
	// the list, so that a cycle cannot be written down.
	After []string
	// Setup does what must be done before Run, and returns. Nil: nothing.
	Setup func(ctx context.Context) error
	// Run blocks while the component works. When it returns before ctx ends, even without
	// an error, the node stops. Nil: nothing is left to run.
	Run func(ctx context.Context) error
	// Ready blocks until others may depend on the component. Nil: at once.
	Ready func(ctx context.Context) error
}

// Observer hears of each component that became ready or failed. Calls may be concurrent.
type Observer interface {
	Step(name string, took time.Duration, err error) error
	Status(text string) error
}

// StopTimeout is how long components may take to stop. What is not done by then is
// abandoned: the datastore has synced every write it acknowledged, pods go on by themselves.
const StopTimeout = 3 * time.Second

// Run starts the components and keeps them running until ctx ends (then it returns nil)
// or one of them fails (then it says which). ready is called once, when all are ready.
func Run(ctx context.Context, log *slog.Logger, observer Observer, components []Component, ready func(context.Context) error) error {
	if err := check(components); err != nil {
		return err
	}
	runCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &supervisor{log: log, observer: observer, stop: stop, ready: make(map[string]chan struct{}), pending: make(map[string]bool)}
	for _, c := range components {
		s.ready[c.Name] = make(chan struct{})
		s.pending[c.Name] = true
	}
	for _, c := range components {
		s.goes.Go(func() { s.guard(runCtx, c.Name, func() error { return s.start(runCtx, c) }) })
	}
	s.goes.Go(func() {
		for _, c := range components {
			if !s.wait(runCtx, c.Name) {
				return
			}
		}
		s.guard(runCtx, "ready", func() error { return ready(runCtx) })
	})

	<-runCtx.Done()
	var failure *Failure
	errors.As(context.Cause(runCtx), &failure)
	if failure == nil {
		log.Info("stopping")
	}
	s.drain()
	if failure != nil {
		return failure
	}
	return nil
}

// Failure is what ended the node: a component and what happened to it.
type Failure struct {
	Component string
	Err       error
}

func (f *Failure) Error() string { return fmt.Sprintf("component %s: %v", f.Component, f.Err) }

// Unwrap returns what happened to the component.
func (f *Failure) Unwrap() error { return f.Err }

var errReturned = errors.New("ended by itself, without an error")

type supervisor struct {
	log      *slog.Logger
	observer Observer
	stop     context.CancelCauseFunc
	ready    map[string]chan struct{} // closed when ready; the map itself is not changed
	goes     sync.WaitGroup

	mu      sync.Mutex
	pending map[string]bool // not ready yet
	running []string        // Run has not returned
}

func check(components []Component) error {
	seen := make(map[string]bool)
	for _, c := range components {
		for _, a := range c.After {
			if !seen[a] {
				return fmt.Errorf("BUG: component %s is to start after %s, which does not stand before it", c.Name, a)
			}
		}
		if seen[c.Name] {
			return fmt.Errorf("BUG: component %s is there twice", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// guard turns an error or a panic of f into the end of the node.
func (s *supervisor) guard(ctx context.Context, name string, f func() error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", "component", name, "stack", string(debug.Stack()))
			s.stop(&Failure{name, fmt.Errorf("panic: %v", p)})
		}
	}()
	if err := f(); err != nil && ctx.Err() == nil {
		s.stop(&Failure{name, err})
	}
}

func (s *supervisor) start(ctx context.Context, c Component) error {
	for _, a := range c.After {
		if !s.wait(ctx, a) {
			return nil
		}
	}
	s.log.Info("starting", "component", c.Name)
	began := time.Now()
	err := s.bring(ctx, c)
	took := time.Since(began).Round(time.Millisecond)
	if ctx.Err() != nil {
		return err
	}
	if nerr := s.observer.Step(c.Name, took, err); nerr != nil {
		s.log.Warn("step not reported", "component", c.Name, "err", nerr)
	}
	if err != nil {
		return err
	}
	s.log.Info("ready", "component", c.Name, "took", took)
	s.mu.Lock()
	delete(s.pending, c.Name)
	left := s.waitingFor()
	s.mu.Unlock()
	if left != "" {
		if err := s.observer.Status("waiting for " + left); err != nil {
			s.log.Warn("status not reported", "err", err)
		}
	}
	close(s.ready[c.Name])
	return nil
}

func (s *supervisor) bring(ctx context.Context, c Component) error {
	if c.Setup != nil {
		if err := c.Setup(ctx); err != nil {
			return err
		}
	}
	// Ready must not outwait a Run that has ended.
	readyCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.Run != nil {
		s.mu.Lock()
		s.running = append(s.running, c.Name)
		s.mu.Unlock()
		s.goes.Go(func() {
			s.guard(ctx, c.Name, func() error {
				err := c.Run(ctx)
				s.mu.Lock()
				s.running = slices.DeleteFunc(s.running, func(n string) bool { return n == c.Name })
				s.mu.Unlock()
				if err == nil {
					err = errReturned
				}
				cancel(err)
				return err
			})
		})
	}
	if c.Ready != nil {
		return c.Ready(readyCtx)
	}
	return nil
}

// wait is false if ctx ended before the component was ready.
func (s *supervisor) wait(ctx context.Context, name string) bool {
	select {
	case <-s.ready[name]:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *supervisor) waitingFor() string {
	names := make([]string, 0, len(s.pending))
	for n := range s.pending {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// drain waits for everything to return, but not longer than StopTimeout.
func (s *supervisor) drain() {
	done := make(chan struct{})
	go func() {
		s.goes.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(StopTimeout):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log.Warn("still running, abandoned", "components", strings.Join(s.running, ", "), "after", StopTimeout)
	}
}
