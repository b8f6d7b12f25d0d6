// Package health tells PID 1, once the node has been ready, whether it still does its work:
// the API server answers /readyz and the Node object is Ready. A trial boot of an upgrade is
// kept, or undone, by what it hears.
//
// A check is two requests to this process's own API server, the Node's from its cache: no
// write, no informer, and once a minute hardly any time. During a trial, and while something
// is wrong, it is done every ten seconds.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// Slow and Fast are the pauses between two checks.
	Slow, Fast = time.Minute, 10 * time.Second
	// Repeat is how often PID 1 is told the same during a trial, so that it knows that it hears.
	Repeat = 30 * time.Second
	// trialLimit is more than any trial takes; the process is not told when one ends.
	trialLimit = time.Hour
	// checkLimit bounds one check.
	checkLimit = 8 * time.Second
)

// Options are what Run works with. All but Trial are required.
type Options struct {
	// Check returns why the node is not healthy, nil if it is.
	Check func(ctx context.Context) error
	// Report tells PID 1 the reason; empty: healthy.
	Report func(reason string) error
	// Trial says that this boot has to prove itself.
	Trial bool
	Log   *slog.Logger
}

// Run checks and reports until ctx ends, then it returns nil.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	var last time.Time // of the last report
	var said string
	for {
		reason := check(ctx, o.Check)
		if ctx.Err() != nil {
			return nil
		}
		trial := o.Trial && time.Since(began) < trialLimit
		changed := last.IsZero() || reason != said
		if changed && reason != "" {
			o.Log.Warn("node is not healthy", "reason", reason)
		} else if changed && !last.IsZero() {
			o.Log.Info("node is healthy again")
		}
		if changed || trial && time.Since(last) >= Repeat {
			if err := o.Report(reason); err != nil {
				o.Log.Warn("health not reported", "err", err)
			} else {
				last, said = time.Now(), reason
			}
		}
		wait := Slow
		if trial || reason != "" {
			wait = Fast
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func check(ctx context.Context, f func(context.Context) error) string {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	if err := f(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// Of returns the check of a node: its API server, asked by api, and its Node object.
func Of(api rest.Interface, client kubernetes.Interface, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := api.Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return fmt.Errorf("API server: %w", err)
		}
		return nodeReady(ctx, client, name)
	}
}

// nodeReady reads the Node from the API server's cache.
func nodeReady(ctx context.Context, client kubernetes.Interface, name string) error {
	n, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node is not Ready: %s: %s", c.Reason, c.Message)
		}
		return nil
	}
	return errors.New("node is not Ready: the kubelet has not reported yet")
}
