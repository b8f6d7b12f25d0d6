package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

// steps shows what is done with one of several nodes: a moving line for a single one, lines with its name for several.
func steps(cmd *cobra.Command, nodes []*node, mu *sync.Mutex, n *node) *progress {
	w := cmd.ErrOrStderr()
	if len(nodes) > 1 {
		w = &lineWriter{mu: mu, w: w, prefix: prefix(nodes, n)}
	}
	return newProgress(w)
}

func newRebootCommand() *cobra.Command {
	var f nodeFlags
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "reboot",
		Short: "Shut nodes down and start them again",
		Long: `Shuts a node down cleanly and starts it again. An upgrade that is armed is tried by this
boot; --wait then waits for what comes of it.`,
		Example: "  keelson reboot -n kitchen --wait",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !w.wait {
				return f.act(cmd, "reboots", func(ctx context.Context, n *node) error { return n.Reboot(ctx) })
			}
			nodes, err := f.open(true)
			if err != nil {
				return err
			}
			var mu sync.Mutex
			answers := askAll(cmd.Context(), nodes, 0, func(ctx context.Context, n *node) (took time.Duration, err error) {
				p := steps(cmd, nodes, &mu, n)
				defer func() { p.end(err == nil) }()
				watch, err := newWatch(ctx, n, func(step string) { p.Step(step, 0) })
				if err != nil {
					return 0, err
				}
				if err := n.Reboot(ctx); err != nil {
					return 0, err
				}
				if u := watch.before.Upgrade; u != nil && u.State == machine.AttemptArmed {
					_, err = watch.attempt(ctx, w.timeout, "")
				} else {
					err = watch.healthy(ctx, w.timeout)
				}
				return time.Since(watch.began), err
			})
			for _, a := range good(answers) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: is back and healthy after %s\n", a.node.name, span(a.value))
			}
			return failures(cmd.Context(), cmd.ErrOrStderr(), answers)
		},
	}
	w.add(cmd, false, "the node is back and healthy")
	f.add(cmd, false)
	return cmd
}

func newPowerOffCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "poweroff",
		Short:   "Shut nodes down",
		Long:    "Shuts a node down cleanly. Nothing but its power button, or its power, starts it again.",
		Example: "  keelson poweroff -n kitchen",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.act(cmd, "powers off", func(ctx context.Context, n *node) error { return n.PowerOff(ctx) })
		},
	}
	f.add(cmd, false)
	return cmd
}

// rollbackLimit is how long a node may take to answer: it reads the whole root that it goes back to.
const rollbackLimit = 10 * time.Minute

func newRollbackCommand() *cobra.Command {
	var f nodeFlags
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the system in the other slot",
		Long: `Goes back. What that means depends on where the node is:

  an upgrade is armed, not booted yet   it is called off; nothing reboots
  an upgrade is on trial                it is given up; the node reboots into the old system
  else                                  the other slot is tried, as after an upgrade: if it
                                        does not get healthy, the node comes back by itself`,
		Example: "  keelson rollback -n kitchen --wait",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(true)
			if err != nil {
				return err
			}
			var mu sync.Mutex
			answers := askAll(cmd.Context(), nodes, 0, func(ctx context.Context, n *node) (machine.Rollback, error) {
				return rollback(ctx, n, w, steps(cmd, nodes, &mu, n))
			})
			return show(cmd, &f, answers, func(out io.Writer, list []answer[machine.Rollback]) error {
				for _, a := range list {
					fmt.Fprintf(out, "%s: %s%s\n", a.node.name, printable(a.value.Reason), yes(a.value.Reboot, map[bool]string{false: "; the node reboots", true: "; the node is back and healthy"}[w.wait]))
				}
				return nil
			})
		},
	}
	w.add(cmd, false, "the node is back and healthy")
	f.add(cmd, true)
	return cmd
}

// rollback goes back and waits, if it is to. It ends p.
func rollback(ctx context.Context, n *node, w waitFlags, p *progress) (answer machine.Rollback, err error) {
	defer func() { p.end(err == nil) }()
	limit, cancel := context.WithTimeout(ctx, rollbackLimit)
	defer cancel()
	var before *watch
	if w.wait {
		if before, err = newWatch(limit, n, func(step string) { p.Step(step, 0) }); err != nil {
			return answer, err
		}
	}
	p.Step("the node checks what it goes back to", 0)
	answer, err = n.Rollback(limit)
	switch {
	case err != nil || !w.wait || !answer.Reboot:
	case answer.Trial:
		_, err = before.attempt(ctx, w.timeout, attemptID(&before.before))
	default:
		err = before.healthy(ctx, w.timeout)
	}
	return answer, err
}
