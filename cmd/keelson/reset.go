package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newResetCommand() *cobra.Command {
	var f nodeFlags
	var request machine.ResetRequest
	var name string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Wipe a node",
		Long: `Wipes a node for good, and says what it wipes.

  --state  the state partition: configuration and secrets, datastore, pods, volumes, images,
           logs. The node reboots, and waits for a new configuration.
  --all    the slots, the boot files and the partition table too. The disk does not boot any
           more, and the machine powers off.

It asks for the node's host name first; --yes-really NAME is for scripts.`,
		Example: "  keelson reset --state -n kitchen\n  keelson reset --all -n 10.0.0.10 --yes-really kitchen",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if request.State == request.All {
				return errors.New("reset: want one of --state and --all (\"keelson reset --help\" says what they wipe)")
			}
			n, err := f.one()
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), []*node{n}, 0, func(ctx context.Context, n *node) (machine.Reset, error) {
				return reset(ctx, cmd, n, request, name)
			})
			return show(cmd, &f, answers, func(w io.Writer, list []answer[machine.Reset]) error {
				for _, a := range list {
					fmt.Fprintf(w, "%s: wipes, then: %s\n", n.name, printable(a.value.Then))
					for _, line := range a.value.Wipes {
						fmt.Fprintf(w, "  %s\n", printable(line))
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&request.State, "state", false, "wipe the state partition")
	cmd.Flags().BoolVar(&request.All, "all", false, "wipe the whole disk")
	cmd.Flags().StringVar(&name, "yes-really", "", "host name of the node, in place of being asked for it")
	f.add(cmd, true)
	return cmd
}

// reset asks, if name is not given, and wipes.
func reset(ctx context.Context, cmd *cobra.Command, n *node, request machine.ResetRequest, name string) (machine.Reset, error) {
	limit, cancel := context.WithTimeout(ctx, answerLimit)
	v, err := n.Version(limit)
	cancel()
	if err != nil {
		return machine.Reset{}, err
	}
	fail := func(format string, args ...any) (machine.Reset, error) {
		err := fmt.Errorf(format, args...)
		return machine.Reset{}, &nodeError{n.name + ": " + err.Error(), err}
	}
	if name == "" {
		in := cmd.InOrStdin()
		if _, ok := terminal(in); !ok {
			return fail("nothing was wiped: there is nobody to ask; --yes-really %s says that you mean it", v.Node)
		}
		what := "configuration, secrets, datastore, pods, volumes and logs"
		if request.All {
			what = "everything on its disk, the system too,"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s (board %s, version %s): %s will be lost. Type the node's name, %s, to go on: ", printable(v.Node), printable(v.Board), printable(v.Version), what, printable(v.Node))
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && line == "" {
			return fail("nothing was wiped: %w", err)
		}
		name = strings.TrimSpace(line)
	}
	if name != v.Node {
		return fail("nothing was wiped: found the name %q, expected %q", name, v.Node)
	}
	request.Confirm = name
	limit, cancel = context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return n.Reset(limit, request)
}
