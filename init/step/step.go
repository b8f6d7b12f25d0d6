// Package step records the stages of a boot: a name, how long it took, how it ended.
//
// The whole boot is one table, from the firmware to the node's last component, that a
// person can read on the console.
package step

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// slow is after how long a running step is named on the console, so that a hang shows
// where it is.
const slow = 5 * time.Second

// Step is one finished stage.
type Step struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"duration"`
	Error    string        `json:"error,omitempty"` // empty: ok
	Note     string        `json:"note,omitempty"`  // shown after "ok"
}

// Printer is the console.
type Printer interface {
	Printf(format string, args ...any)
}

// Advice is an error with what a person can do about it.
type Advice struct {
	Err error
	Do  string
}

// Advise adds to err what a person can do about it; nil stays nil.
func Advise(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Advice{Err: err, Do: fmt.Sprintf(format, args...)}
}

func (e *Advice) Error() string { return e.Err.Error() }

// Unwrap returns the error without the advice.
func (e *Advice) Unwrap() error { return e.Err }

// Table is the list of steps, in the order they ended. Safe for several goroutines.
type Table struct {
	// Otherwise is the advice for a failure that carries none; empty: none.
	Otherwise string

	out Printer

	mu    sync.Mutex
	steps []Step
}

// NewTable returns an empty table that reports failures to out.
func NewTable(out Printer) *Table { return &Table{out: out} }

// Add appends finished steps without a word on the console.
func (t *Table) Add(steps ...Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, steps...)
}

// Steps returns a copy of the table.
func (t *Table) Steps() []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Step(nil), t.steps...)
}

// Run does f as the step name: it measures it, prints its failure with the advice it
// carries, and returns its error. The note f returns is shown in the table.
// A panic of f becomes its error, so that one broken step does not end PID 1.
func (t *Table) Run(name string, f func() (note string, err error)) error {
	began := time.Now()
	timer := time.AfterFunc(slow, func() {
		t.out.Printf("step %s: still running after %v", name, slow)
	})
	note, err := guarded(f)
	timer.Stop()
	s := Step{Name: name, Duration: time.Since(began), Note: note}
	if err != nil {
		s.Error = err.Error()
		t.out.Printf("step %s: %s", name, strings.ReplaceAll(err.Error(), "\n", "\n  "))
		do := t.Otherwise
		var advice *Advice
		if errors.As(err, &advice) {
			do = advice.Do
		}
		if do != "" {
			t.out.Printf("  what to do: %s", do)
		}
	}
	t.Add(s)
	return err
}

func guarded(f func() (string, error)) (note string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("BUG: panic: %v", v)
		}
	}()
	return f()
}

// The lines around a printed table. Tests and tools look for them.
const (
	Begin = "boot table"
	End   = "end of boot table"
)

// Print writes the table: a line per step with its duration and "ok" or the error.
func (t *Table) Print(out Printer) {
	steps := t.Steps()
	width := 0
	for _, s := range steps {
		width = max(width, len(s.Name))
	}
	var b strings.Builder
	b.WriteString(Begin + "\n")
	for _, s := range steps {
		fmt.Fprintf(&b, "  %-*s %9s %s\n", width, s.Name, Seconds(s.Duration), s.result())
	}
	b.WriteString(End)
	out.Printf("%s", b.String())
}

func (s Step) result() string {
	switch {
	case s.Error != "":
		line, _, _ := strings.Cut(s.Error, "\n")
		return line
	case s.Note != "":
		return "ok (" + s.Note + ")"
	}
	return "ok"
}

// Seconds formats d as the boot table does: seconds with three decimals, then "s".
func Seconds(d time.Duration) string {
	return fmt.Sprintf("%.3fs", d.Seconds())
}
