package trial

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/supervise"
)

var (
	ready   = supervise.Message{Ready: true}
	healthy = supervise.Message{Health: &supervise.Health{OK: true}}
	sick    = supervise.Message{Health: &supervise.Health{Reason: "Node kitchen is NotReady"}}
)

func status(s string) supervise.Message { return supervise.Message{Status: s} }

// play runs a gate beside a story and returns how it ended and when.
func play(t *testing.T, limit time.Duration, story func(g *Gate), conditions ...Condition) (took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		g := NewGate(limit, conditions...)
		go story(g)
		err = g.Run(ctx)
		took = time.Since(began)
		cancel()
		time.Sleep(2 * time.Hour) // the story ends as well
	})
	return took, err
}

// say repeats a message every 30 s, n times.
func say(g *Gate, m supervise.Message, n int) {
	for range n {
		g.Heard(m)
		time.Sleep(30 * time.Second)
	}
}

func near(got, want time.Duration) bool { return (got - want).Abs() <= 2*time.Second }

func TestABootIsGoodWhenEverythingHeldUnbroken(t *testing.T) {
	took, err := play(t, 0, func(g *Gate) {
		time.Sleep(20 * time.Second)
		g.Heard(ready)
		say(g, healthy, 10)
	})
	if err != nil || !near(took, 20*time.Second+Hold) {
		t.Errorf("Run = %v after %v, want nil after 80 s", err, took)
	}
}

func TestTheTimeBeginsAnewAfterABreak(t *testing.T) {
	for name, breaks := range map[string]func(g *Gate){
		"not healthy": func(g *Gate) { g.Heard(sick) },
		"died": func(g *Gate) {
			g.Exited("died: exit status 1")
			g.Started()
			g.Heard(ready)
		},
		"restarted": func(g *Gate) { g.Started(); g.Heard(ready) },
	} {
		took, err := play(t, 0, func(g *Gate) {
			g.Heard(ready)
			g.Heard(healthy)
			time.Sleep(50 * time.Second)
			breaks(g)
			time.Sleep(5 * time.Second)
			say(g, healthy, 5)
		})
		if err != nil || !near(took, 55*time.Second+Hold) {
			t.Errorf("%s: Run = %v after %v, want nil after 115 s", name, err, took)
		}
	}
}

func TestSilenceIsNotHealth(t *testing.T) {
	broken := 0
	took, err := play(t, 0, func(g *Gate) {
		g.Heard(ready)
		time.Sleep(9 * time.Minute)
		g.Heard(healthy) // its last word: not enough for Hold after a late start
		time.Sleep(20 * time.Second)
		g.Exited("died: signal: killed")
		broken++
	})
	if !failed(err, "not good within 10m0s") || !near(took, 10*time.Minute) || broken != 1 {
		t.Errorf("Run = %v after %v", err, took)
	}
	took, err = play(t, 0, func(g *Gate) {
		g.Heard(ready)
		g.Heard(sick)
		time.Sleep(time.Minute)
		say(g, healthy, 1)
	})
	// 60 s of Hold end before 75 s of silence do: one word lost is no break.
	if err != nil || !near(took, time.Minute+Hold) {
		t.Errorf("Run = %v after %v, want nil after 2 min", err, took)
	}
}

func TestABreakOfAnyConditionIsNamed(t *testing.T) {
	bad := errors.New("became read-only")
	took, err := play(t, 0, func(g *Gate) {
		g.Heard(ready)
		say(g, healthy, 30)
	}, Condition{"state partition", func() error { return bad }})
	if !failed(err, "state partition: became read-only") || !near(took, 10*time.Minute) {
		t.Errorf("Run = %v after %v", err, took)
	}
}

func TestWhatHoldsAtTheLimitMayFinish(t *testing.T) {
	took, err := play(t, 5*time.Minute, func(g *Gate) {
		g.Heard(ready)
		time.Sleep(5*time.Minute - 10*time.Second)
		say(g, healthy, 5)
	})
	if err != nil || !near(took, 5*time.Minute-10*time.Second+Hold) {
		t.Errorf("Run = %v after %v", err, took)
	}
}

func TestNoProgressForTwoMinutesIsTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		story func(g *Gate)
		want  time.Duration
		text  string
	}{
		"nothing at all": {func(*Gate) {}, 2 * time.Minute, "since PID 1 started"},
		"a boot step, then nothing": {func(g *Gate) {
			time.Sleep(time.Minute)
			g.Step("state")
		}, 3 * time.Minute, "since step state"},
		"the same message with other numbers": {func(g *Gate) {
			for i := range 100 {
				g.Heard(status(fmt.Sprintf("waiting for apiserver (%d s)", i)))
				time.Sleep(time.Second)
			}
		}, 2 * time.Minute, "waiting for apiserver"},
		"new steps": {func(g *Gate) {
			for _, name := range []string{"a", "b", "c", "a"} {
				g.Heard(supervise.Message{Steps: []step.Step{{Name: name}}})
				time.Sleep(time.Minute)
			}
		}, 4 * time.Minute, "since node/c"},
		"steps that fail": {func(g *Gate) {
			for range 10 {
				g.Heard(supervise.Message{Steps: []step.Step{{Name: "x", Error: "no"}}})
				time.Sleep(time.Minute)
			}
		}, 2 * time.Minute, "node process not ready"},
	} {
		took, err := play(t, 0, c.story)
		if !failed(err, "no progress for 2m0s") || !strings.Contains(err.Error(), c.text) || !near(took, c.want) {
			t.Errorf("%s: Run = %v after %v, want %q after %v", name, err, took, c.text, c.want)
		}
	}
}

func TestALongerLimitIsMorePatient(t *testing.T) {
	took, err := play(t, 30*time.Minute, func(*Gate) {})
	if !failed(err, "no progress for 6m0s") || !near(took, 6*time.Minute) {
		t.Errorf("Run = %v after %v, want the end after 6 min", err, took)
	}
}

func TestReadyAndNeverHealthyIsTheEndAtTheLimit(t *testing.T) {
	took, err := play(t, 0, func(g *Gate) {
		g.Heard(ready)
		say(g, sick, 60)
	})
	if !failed(err, "Node kitchen is NotReady") || !near(took, 10*time.Minute) {
		t.Errorf("Run = %v after %v", err, took)
	}
}

func TestFiveDeathsAreTheEnd(t *testing.T) {
	for _, getsReady := range []bool{false, true} {
		took, err := play(t, 0, func(g *Gate) {
			for range 5 {
				g.Started()
				if getsReady {
					g.Heard(ready)
					g.Heard(healthy)
				}
				time.Sleep(5 * time.Second)
				g.Exited("died: exit status 1")
			}
		})
		if !failed(err, "ended 5 times; the last run died: exit status 1") || !near(took, 25*time.Second) {
			t.Errorf("gets ready %v: Run = %v after %v", getsReady, err, took)
		}
	}
}

func TestFailIsTheEndAtOnce(t *testing.T) {
	took, err := play(t, 0, func(g *Gate) {
		g.Heard(ready)
		g.Heard(healthy)
		time.Sleep(30 * time.Second)
		g.Fail("no state partition")
		g.Fail("and more")
	})
	if !failed(err, "no state partition") || !near(took, 30*time.Second) {
		t.Errorf("Run = %v after %v", err, took)
	}
}

func TestAGateThatIsStoppedSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var f *FailedError
		if err := NewGate(0).Run(ctx); err == nil || errors.As(err, &f) {
			t.Errorf("Run = %v, want the context's error", err)
		}
	})
}

func TestReportNamesWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		g := NewGate(0)
		go g.Run(ctx)
		g.Heard(status("waiting for kubelet"))
		time.Sleep(90 * time.Second)
		if r := g.Report(); !strings.Contains(r.Waiting, "waiting for kubelet") || !r.Since.IsZero() || r.Left != DefaultLimit-90*time.Second {
			t.Errorf("Report = %+v", r)
		}
		g.Heard(ready)
		g.Heard(healthy)
		time.Sleep(10 * time.Second)
		if r := g.Report(); r.Waiting != "" || r.Since.IsZero() {
			t.Errorf("Report = %+v, want that everything holds", r)
		}
	})
}

func failed(err error, text string) bool {
	var f *FailedError
	return errors.As(err, &f) && strings.Contains(f.Reason, text)
}
