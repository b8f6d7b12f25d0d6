package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

const (
	// pollEvery is the time between two looks at a node that is waited for.
	pollEvery = time.Second
	// pollLimit is how long a look may take: a node that is down must not be waited for much longer than it is.
	pollLimit = 10 * time.Second
	// watchLimit is how long is waited by default: a slow board's reboot, and the ten minutes that a new system has to prove itself.
	watchLimit = 30 * time.Minute
)

// waitFlags say whether a verb waits for what it has begun.
type waitFlags struct {
	wait    bool
	timeout time.Duration
}

func (f *waitFlags) add(cmd *cobra.Command, usual bool, until string) {
	cmd.Flags().BoolVar(&f.wait, "wait", usual, "wait until "+until)
	cmd.Flags().DurationVar(&f.timeout, "timeout", watchLimit, "how long to wait; the node goes on by itself in any case")
}

// watch follows a node through a reboot.
type watch struct {
	n      *node
	before machine.Status
	began  time.Time // when before was
	step   func(string)
	last   string // step
}

// newWatch looks at a node before something is begun. step is told what is being waited for.
func newWatch(ctx context.Context, n *node, step func(string)) (*watch, error) {
	s, err := n.Status(ctx)
	return &watch{n: n, before: s, began: time.Now(), step: step}, err
}

// rebooted says whether s is of another boot than before. Without one the node would have been up as long as it was and what has passed since.
func (w *watch) rebooted(s *machine.Status) bool {
	expected := w.before.Uptime.Duration() + time.Since(w.began)
	return expected-s.Uptime.Duration() > w.before.Uptime.Duration()/2
}

func (w *watch) say(step string) {
	if step != w.last {
		w.last = step
		w.step(step)
	}
}

// until looks at the node until done says so. done gets every answer, and tells what is being waited for.
func (w *watch) until(ctx context.Context, limit time.Duration, done func(*machine.Status) (end bool, waiting string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("nothing was decided within %s", limit))
	defer cancel()
	last := errors.New("it did not answer yet")
	for {
		look, stop := context.WithTimeout(ctx, pollLimit)
		s, err := w.n.Status(look)
		stop()
		switch {
		case err == nil:
			end, waiting, err := done(&s)
			if end || err != nil {
				return err
			}
			w.say(waiting)
			last = errors.New(waiting)
		case errors.Is(err, machine.ErrForbidden):
			return err
		case ctx.Err() == nil:
			last = errors.New(strings.TrimPrefix(w.n.explain(err).Error(), w.n.name+": "))
			if !strings.HasPrefix(w.last, "waiting for the reboot") {
				w.say("waiting for the reboot")
			}
			w.n.Close() // whatever was at the other end is gone
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return w.gaveUp(context.Cause(ctx), last)
		}
	}
}

// gaveUp is the error of who waits no longer. last is what was awaited.
func (w *watch) gaveUp(cause, last error) error {
	if errors.Is(cause, context.Canceled) {
		cause = errors.New("not waiting any longer")
	}
	err := fmt.Errorf("%w (last: %w); the node goes on by itself, and \"keelson status\" tells the outcome", cause, last)
	return &nodeError{w.n.name + ": " + err.Error(), err}
}

// rebooting is what is awaited while the boot before is still there, and "" afterwards.
func (w *watch) rebooting(s *machine.Status) string {
	if !w.rebooted(s) {
		return "waiting for the shutdown"
	}
	return ""
}

func waitingFor(s *machine.Status) string {
	if t := s.Trial; t != nil && t.Result == "" {
		return "trial: " + cmp.Or(t.Waiting, "all is well, and has to stay so for a minute")
	}
	if s.Ending != "" {
		return "waiting for the reboot"
	}
	return "not ready: " + cmp.Or(s.Health.Reason, s.Health.Node)
}

// healthy waits until the node is healthy after a reboot.
func (w *watch) healthy(ctx context.Context, limit time.Duration) error {
	return w.until(ctx, limit, func(s *machine.Status) (bool, string, error) {
		if waiting := w.rebooting(s); waiting != "" {
			return false, waiting, nil
		}
		return s.Health.OK && s.Ending == "", waitingFor(s), nil
	})
}

// attempt waits for the end of an upgrade's attempt that is another than the one before.
func (w *watch) attempt(ctx context.Context, limit time.Duration, before string) (*machine.Attempt, error) {
	var got *machine.Attempt
	err := w.until(ctx, limit, func(s *machine.Status) (bool, string, error) {
		if s.Upgrade == nil || s.Upgrade.ID == before {
			return false, cmp.Or(w.rebooting(s), waitingFor(s)), nil
		}
		switch got = s.Upgrade; got.State {
		case machine.AttemptGood:
			return true, "", nil
		case machine.AttemptRolledBack:
			return true, "", rolledBack(got)
		case machine.AttemptCanceled:
			return true, "", fmt.Errorf("the upgrade to %s was called off: %s", got.To.Version, cmp.Or(got.Reason, "nobody said why"))
		}
		return false, cmp.Or(w.rebooting(s), waitingFor(s)), nil
	})
	return got, err
}

// attemptID is the attempt that a node tells of; "" when there was none.
func attemptID(s *machine.Status) string {
	if s.Upgrade == nil {
		return ""
	}
	return s.Upgrade.ID
}

// tailShown is how many of the last lines of a failed boot an error shows.
const tailShown = 12

// rolledBack tells why an upgrade was undone.
func rolledBack(a *machine.Attempt) error {
	text := fmt.Sprintf("version %s did not prove itself; the node is back on %s in slot %s: %s", a.To.Version, a.From.Version, a.From.Slot, cmp.Or(a.Reason, "nobody said why"))
	return errors.New(text + tailText(a.Tail, a.Panic))
}

func tailText(tail []string, panic string) string {
	var b strings.Builder
	for _, x := range []struct {
		title string
		lines []string
	}{{"the last lines of the failed boot", tail}, {"the kernel's last words", lastWords(panic)}} {
		if len(x.lines) == 0 {
			continue
		}
		b.WriteString("\n" + x.title + ":")
		for _, line := range x.lines[max(0, len(x.lines)-tailShown):] {
			b.WriteString("\n  " + printable(line))
		}
	}
	return b.String()
}

// configured waits until a new configuration has proved itself or was undone.
func (w *watch) configured(ctx context.Context, limit time.Duration) error {
	return w.until(ctx, limit, func(s *machine.Status) (bool, string, error) {
		if waiting := w.rebooting(s); waiting != "" {
			return false, waiting, nil
		}
		if u := s.ConfigUndone; u != nil && (w.before.ConfigUndone == nil || !u.Time.Equal(w.before.ConfigUndone.Time)) {
			return true, "", fmt.Errorf("the new configuration did not prove itself and was undone: %s%s", u.Reason, tailText(u.Tail, ""))
		}
		trying := s.Trial != nil && s.Trial.Result != "passed"
		return s.Health.OK && s.Ending == "" && !trying, waitingFor(s), nil
	})
}

// logLevel is how the kernel's log begins a line, in pstore.
var logLevel = regexp.MustCompile(`(?m)^<\d+>`)

// lastWords are the lines of a kernel's log that say why it panicked, without their levels: from the panic on, or else the last ones.
func lastWords(text string) []string {
	text = strings.TrimSpace(logLevel.ReplaceAllString(text, ""))
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	from := max(0, len(lines)-tailShown)
	for i, line := range lines {
		if strings.Contains(line, "Kernel panic - not syncing") {
			from = i
		}
	}
	return lines[from:min(from+tailShown, len(lines))]
}
