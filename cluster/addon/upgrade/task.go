package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/machine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// poll is the pause between two looks at a node under way.
	poll = 5 * time.Second
	// askLimit bounds one question to a machine API.
	askLimit = 20 * time.Second
	// reachLimit is how long a machine API may be out of reach before a node is given up that
	// nothing was done to yet.
	reachLimit = 2 * time.Minute
	// readyLimit is how long a node may take to be Ready before it is begun, or after it
	// rolled back.
	readyLimit = 5 * time.Minute
	// busyLimit is how long another upgrade or trial of a node is waited for.
	busyLimit = 20 * time.Minute
	// applyLimit is how long a node may take to fetch and write a bundle.
	applyLimit = 3 * time.Hour
	// comeBack is how long a node may take from its reboot to a verdict: three boots that each
	// use up a health gate of ten minutes, and the way back.
	comeBack = 45 * time.Minute
	// askAgain is how long a node may go on running after it was asked to reboot.
	askAgain = 2 * time.Minute
	// sayEvery spaces out what is written to the status about one phase.
	sayEvery = 10 * time.Second
)

var (
	errChanged = errors.New("spec.bundle was changed")
	errLeft    = errors.New("the node has left the cluster")
)

// task carries one node from Preparing to the end. u is as it was when the task began; the
// bundle is the one in its status, which is the one that the node was begun with.
type task struct {
	*controller
	u *upgrade
	n nodeStatus // as last written

	drainCtx  context.Context // ends also when the drain is not wanted any more
	stopDrain context.CancelCauseFunc

	mu   sync.Mutex // of what say uses
	said string
	when time.Time
}

// run works until the node is not under way any more, or ctx ends.
func (t *task) run(ctx context.Context) {
	for t.n.Phase.underWay() && ctx.Err() == nil {
		var err error
		switch at := t.n.Phase; at {
		case nodePreparing:
			err = t.prepare(ctx)
		case nodeDraining:
			err = t.drain(ctx)
		case nodeApplying:
			err = t.apply(ctx)
		case nodeRebooting:
			err = t.reboot(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.fail(ctx, err)
		}
	}
}

// enter goes on to the next phase: it is in the status when it returns, unless ctx ended. When
// the Upgrade was deleted the node is carried on without.
func (t *task) enter(ctx context.Context, p nodePhase, message string, more func(*nodeStatus)) error {
	change := func(n *nodeStatus) {
		n.enter(p, cut(message, maxMessage), time.Now())
		if more != nil {
			more(n)
		}
	}
	ended := false
	u, err := t.update(ctx, t.u, func(u *upgrade) {
		if n := u.Status.node(t.n.Name); n != nil {
			change(n)
			ended = u.summarize(hold{}, time.Now())
		}
	})
	if err == nil && ended {
		t.tellEnd(u)
	}
	if err == nil || errors.Is(err, errGone) {
		change(&t.n)
		return nil
	}
	return err
}

// say changes the message of the phase, at most every sayEvery.
func (t *task) say(ctx context.Context, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text = cut(text, maxMessage); text == t.said || time.Since(t.when) < sayEvery {
		return
	}
	// Once: it is no loss when it fails.
	_, err := t.tryUpdate(ctx, t.u, func(u *upgrade) {
		if n := u.Status.node(t.n.Name); n != nil && n.Phase == t.n.Phase {
			n.Message = text
			u.summarize(hold{}, time.Now())
		}
	})
	t.when = time.Now()
	if err == nil {
		t.said = text
	}
}

func (t *task) tell(kind, reason, text string) { t.controller.tell(t.u, kind, reason, text) }

// prepare waits for the node to be fit for an upgrade and notes what it runs.
func (t *task) prepare(ctx context.Context) error {
	name := t.n.Name
	if err := t.awaitReady(ctx, readyLimit); errors.Is(err, errLeft) {
		t.tell(corev1.EventTypeWarning, "Skipped", fmt.Sprintf("Node %s: %v", name, err))
		return t.enter(ctx, nodeSkipped, err.Error(), nil)
	} else if err != nil {
		return err
	}
	var st machine.Status
	err := t.await(ctx, busyLimit, func() (err error) {
		if st, err = t.status(ctx, reachLimit); err != nil {
			return stopped{err}
		}
		if st.Trial != nil && st.Trial.Result == "" {
			return fmt.Errorf("waiting for the trial of another %s to end", cmp.Or(st.Trial.Kind, "change"))
		}
		if a := st.Upgrade; a != nil && a.State == machine.AttemptTrying && st.Slot == a.To.Slot {
			return fmt.Errorf("waiting for the trial of %s to end", a.To.Version)
		}
		return nil
	})
	if err != nil {
		return err
	}
	nodes, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	next, text := nodeDraining, "evicting pods"
	if or(t.u.Spec.Drain.SkipSingleNode, true) && alone(nodes.Items, name) {
		next, text = nodeApplying, "checking the bundle"
		t.tell(corev1.EventTypeNormal, "DrainSkipped", fmt.Sprintf("Node %s is neither cordoned nor drained: no other node could take its pods", name))
	} else {
		did, err := cordon(ctx, t.client, name, t.u.Name)
		if err != nil {
			return fmt.Errorf("cordon: %w", err)
		}
		if did {
			t.tell(corev1.EventTypeNormal, "Cordoned", fmt.Sprintf("Node %s is cordoned", name))
		}
		if !or(t.u.Spec.Drain.Enabled, true) {
			next, text = nodeApplying, "checking the bundle"
		}
	}
	return t.enter(ctx, next, text, func(n *nodeStatus) {
		n.FromVersion = st.Version.Version
		if st.Upgrade != nil {
			n.Attempt = st.Upgrade.ID
		}
	})
}

func (t *task) drain(ctx context.Context) error {
	limit := t.u.Spec.Drain.timeout()
	began := time.Now()
	var mu sync.Mutex
	var last string
	err := evict(t.drainCtx, t.client, t.n.Name, t.u.Spec.Drain, limit, func(text string) {
		mu.Lock()
		last = text
		mu.Unlock()
		t.say(t.drainCtx, "draining: "+text)
	})
	if ctx.Err() != nil {
		return nil // the next process drains again
	}
	if why := context.Cause(t.drainCtx); why != nil {
		return why
	}
	if err != nil {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(began) >= limit {
			return fmt.Errorf("drain: pods are still there after %s (spec.drain.timeoutSeconds): %w; last: %s", limit, err, last)
		}
		return fmt.Errorf("drain: %w", err)
	}
	t.tell(corev1.EventTypeNormal, "Drained", fmt.Sprintf("Node %s is drained, in %s", t.n.Name, time.Since(began).Round(time.Second)))
	return t.enter(ctx, nodeApplying, "checking the bundle", nil)
}

// apply has the node write the bundle and arm it. A node that has done so already, as this
// process did not live to see, is not asked again.
func (t *task) apply(ctx context.Context) error {
	name, b := t.n.Name, t.u.Status.Bundle
	if b == nil {
		b = &t.u.Spec.Bundle
	}
	armed := func() (*machine.Attempt, error) {
		st, err := t.status(ctx, reachLimit)
		if err != nil {
			return nil, err
		}
		if a := st.Upgrade; a != nil && a.ID != t.n.Attempt && a.State != machine.AttemptCanceled {
			return a, nil
		}
		return nil, nil
	}
	var attempt *machine.Attempt
	lost, told := 0, false
	err := t.await(ctx, busyLimit, func() (err error) {
		if attempt, err = armed(); err != nil {
			return stopped{err}
		}
		if attempt != nil {
			return nil
		}
		if !told {
			told = true
			t.tell(corev1.EventTypeNormal, "Applying", fmt.Sprintf("Node %s takes %s", name, b.URL))
		}
		api, err := t.connect(ctx)
		if err != nil {
			return stopped{err}
		}
		defer api.Close()
		var answer *machine.Error
		asked, cancel := context.WithTimeout(ctx, applyLimit)
		defer cancel()
		result, err := api.Upgrade(asked, machine.UpgradeRequest{URL: b.URL, SHA256: b.SHA256, NoReboot: true}, func(p machine.UpgradeProgress) {
			t.say(ctx, progress(p))
		})
		switch {
		case err == nil && !result.Armed:
			return stopped{already{result.To.Version}}
		case err == nil:
			t.tell(corev1.EventTypeNormal, "Applied", fmt.Sprintf("Node %s has %s in slot %s: %s, of which %s were fetched",
				name, result.To.Version, result.To.Slot, megabytes(result.Total), megabytes(result.Fetched)))
			if attempt, err = armed(); err == nil && attempt == nil {
				err = errors.New("the node armed an upgrade and has no record of it")
			}
			if err != nil {
				return stopped{err}
			}
			return nil
		case errors.Is(err, machine.ErrBusy), errors.Is(err, machine.ErrUnavailable):
			return err
		case errors.As(err, &answer) && answer.Status != http.StatusBadGateway:
			return stopped{err}
		case errors.Is(asked.Err(), context.DeadlineExceeded):
			return stopped{fmt.Errorf("not written after %s: %w", applyLimit, err)}
		}
		if lost++; lost >= 3 { // the bundle's server, the machine API or its node was away
			return stopped{err}
		}
		return err
	})
	if done := (already{}); errors.As(err, &done) {
		return t.end(ctx, nodeDone, "runs "+done.version+" already", done.version)
	}
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return t.enter(ctx, nodeRebooting, "rebooting into "+attempt.To.Version, func(n *nodeStatus) {
		n.Attempt, n.FromVersion, n.ToVersion = attempt.ID, cmp.Or(attempt.From.Version, n.FromVersion), attempt.To.Version
	})
}

// already says that the node runs what the bundle holds.
type already struct{ version string }

func (a already) Error() string { return "the node runs " + a.version + " already" }

// reboot waits for what comes of the attempt. It asks for the reboot as long as the machine
// has not begun one.
func (t *task) reboot(ctx context.Context) error {
	name, since := t.n.Name, time.Now()
	if t.n.PhaseSince != nil && t.n.PhaseSince.Time.Before(since) {
		since = t.n.PhaseSince.Time
	}
	var asked time.Time
	var verdict machine.Attempt
	err := t.await(ctx, comeBack-time.Since(since), func() error {
		st, err := t.ask(ctx)
		if err != nil {
			return fmt.Errorf("waiting for the node: %w", err)
		}
		a := st.Upgrade
		switch {
		case a == nil:
			return stopped{fmt.Errorf("the node has no record of upgrade %s any more: was its state partition wiped?", t.n.Attempt)}
		case a.ID != t.n.Attempt:
			return stopped{fmt.Errorf("the node's last upgrade is %s, to %s, and not %s: somebody else has upgraded it", a.ID, a.To.Version, t.n.Attempt)}
		}
		switch a.State {
		case machine.AttemptGood, machine.AttemptRolledBack:
			verdict = *a
			return nil
		case machine.AttemptCanceled:
			return stopped{fmt.Errorf("the upgrade was called off on the node: %s", cmp.Or(a.Reason, "no reason given"))}
		case machine.AttemptArmed:
			// Not while the new system boots: it is armed until PID 1 has noted the try.
			if st.Slot == a.From.Slot && st.Ending == "" && st.Uptime.Duration() > time.Since(since) && time.Since(asked) > askAgain {
				if asked.IsZero() {
					t.tell(corev1.EventTypeNormal, "Rebooting", fmt.Sprintf("Node %s reboots from %s into %s", name, a.From.Version, a.To.Version))
				}
				asked = time.Now()
				if err := t.askReboot(ctx); err != nil {
					return fmt.Errorf("reboot: %w", err)
				}
			}
			return fmt.Errorf("rebooting into %s", a.To.Version)
		}
		text := fmt.Sprintf("trial of %s", a.To.Version)
		if st.Trial != nil && st.Trial.Waiting != "" {
			text += ": waiting for " + st.Trial.Waiting
		}
		return errors.New(text)
	})
	if err != nil {
		return fmt.Errorf("no verdict on %s: %w", cmp.Or(t.n.ToVersion, "the new system"), err)
	}
	if verdict.State == machine.AttemptRolledBack {
		text := fmt.Sprintf("back on %s: %s", verdict.From.Version, cmp.Or(verdict.Reason, "no reason given"))
		if err := t.awaitReady(ctx, readyLimit); err != nil {
			return t.enter(ctx, nodeRolledBack, text+"; and then: "+err.Error(), nil) // cordoned as it is
		}
		return t.end(ctx, nodeRolledBack, text, verdict.To.Version)
	}
	if err := t.awaitReady(ctx, max(readyLimit, comeBack-time.Since(since))); err != nil {
		return err
	}
	return t.end(ctx, nodeDone, "runs "+verdict.To.Version, verdict.To.Version)
}

// end uncordons the node and is done with it.
func (t *task) end(ctx context.Context, p nodePhase, message, version string) error {
	t.uncordon(ctx)
	if p == nodeDone {
		t.tell(corev1.EventTypeNormal, "NodeDone", fmt.Sprintf("Node %s %s", t.n.Name, message))
	} else {
		t.tell(corev1.EventTypeWarning, "Node"+string(p), fmt.Sprintf("Node %s: %s", t.n.Name, message))
	}
	return t.enter(ctx, p, message, func(n *nodeStatus) { n.ToVersion = version })
}

// fail gives the node up. It can take pods again, unless nobody knows what it runs.
func (t *task) fail(ctx context.Context, cause error) {
	if errors.Is(cause, errChanged) || errors.Is(cause, errGone) {
		t.uncordon(ctx)
		t.tell(corev1.EventTypeNormal, "DrainEnded", fmt.Sprintf("Node %s: the drain was broken off: %v", t.n.Name, cause))
		_ = t.enter(ctx, nodePending, "", nil) // only if ctx ended
		return
	}
	text := cause.Error()
	if t.n.Phase != nodeRebooting {
		t.uncordon(ctx)
	} else {
		text += fmt.Sprintf("; if it was cordoned it still is: kubectl uncordon %s", t.n.Name)
	}
	t.tell(corev1.EventTypeWarning, "NodeFailed", fmt.Sprintf("Node %s: %s", t.n.Name, text))
	_ = t.enter(ctx, nodeFailed, text, nil) // only if ctx ended
}

// uncordon tries until it is done or ctx ends.
func (t *task) uncordon(ctx context.Context) {
	for {
		did, err := uncordon(ctx, t.client, t.n.Name, t.u.Name)
		if err == nil {
			if did {
				t.tell(corev1.EventTypeNormal, "Uncordoned", fmt.Sprintf("Node %s is uncordoned", t.n.Name))
			}
			return
		}
		t.log.Warn("upgrade: node not uncordoned, trying again", "node", t.n.Name, "err", err)
		if !await.Pause(ctx, poll) {
			return
		}
	}
}

// stopped ends await with the error in it.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// await calls probe until it returns nil or a stopped, or the limit is over; the error is then
// that of the last probe, which is also what the status says meanwhile.
func (t *task) await(ctx context.Context, limit time.Duration, probe func() error) error {
	began := time.Now()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		var s stopped
		if errors.As(err, &s) {
			return s.error
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(began) >= limit {
			return fmt.Errorf("given up after %s: %w", max(0, limit).Round(time.Second), err)
		}
		t.say(ctx, err.Error())
		if !await.Pause(ctx, poll) {
			return context.Cause(ctx)
		}
	}
}

// awaitReady waits for the Node to be Ready. errLeft: there is no such Node.
func (t *task) awaitReady(ctx context.Context, limit time.Duration) error {
	return t.await(ctx, limit, func() error {
		n, err := t.client.CoreV1().Nodes().Get(ctx, t.n.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) && t.n.Phase == nodePreparing {
			return stopped{errLeft}
		}
		if err != nil {
			return err
		}
		if is, why := ready(n); !is {
			return fmt.Errorf("waiting for the node to be Ready: %s", why)
		}
		return nil
	})
}

// connect makes a client of the node's machine API, of where the node is now.
func (t *task) connect(ctx context.Context) (node, error) {
	n, err := t.client.CoreV1().Nodes().Get(ctx, t.n.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return t.dial(n)
}

// ask asks once for the machine's status.
func (t *task) ask(ctx context.Context) (machine.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	api, err := t.connect(ctx)
	if err != nil {
		return machine.Status{}, err
	}
	defer api.Close()
	return api.Status(ctx)
}

func (t *task) askReboot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	api, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer api.Close()
	return api.Reboot(ctx)
}

// status asks for the machine's status until it answers.
func (t *task) status(ctx context.Context, limit time.Duration) (st machine.Status, err error) {
	err = t.await(ctx, limit, func() error {
		st, err = t.ask(ctx)
		if err != nil {
			return fmt.Errorf("machine API: %w", err)
		}
		return nil
	})
	return st, err
}

// progress is one line of how far the node is.
func progress(p machine.UpgradeProgress) string {
	text := p.Phase
	if p.Total > 0 {
		text += fmt.Sprintf(": %s of %s, %s fetched", megabytes(p.Done), megabytes(p.Total), megabytes(p.Fetched))
	}
	return text
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
