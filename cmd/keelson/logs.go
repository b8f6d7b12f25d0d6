package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newLogsCommand() *cobra.Command {
	var f nodeFlags
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "Show the log of a service of nodes",
		Long: `Shows what a service wrote, as far back as the node keeps it: "node" is Kubernetes,
"machined" the machine API, "init" PID 1. Pods' logs are kubectl's. Of several nodes each
line begins with the node's name.`,
		Example: `  keelson logs node --tail 100
  keelson logs -f init -n kitchen,attic`,
		Args:              arguments,
		ValidArgsFunction: completeServices(&f),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < 0 {
				return fmt.Errorf("--tail: found %d, expected a number of lines", tail)
			}
			o := machine.LogOptions{Follow: follow, Tail: tail}
			if tail == 0 && cmd.Flags().Changed("tail") {
				o.Tail = -1
			}
			return f.stream(cmd, func(ctx context.Context, n *node, out *lineWriter) error {
				r, err := n.Logs(ctx, args[0], o)
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.Copy(out, r)
				return errors.Join(err, out.Close())
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	cmd.Flags().IntVar(&tail, "tail", 0, "begin with the last lines, this many (default: all there are)")
	cmd.Flags().Lookup("tail").DefValue = "0" // shows none
	f.add(cmd, false)
	return cmd
}

func newDmesgCommand() *cobra.Command {
	var f nodeFlags
	var follow bool
	cmd := &cobra.Command{
		Use:     "dmesg",
		Short:   "Show the kernel messages of nodes",
		Example: "  keelson dmesg -f",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.stream(cmd, func(ctx context.Context, n *node, out *lineWriter) error {
				return n.Dmesg(ctx, follow, func(m machine.KernelMessage) error {
					text := fmt.Sprintf("[%12.6f] %s", m.Since, m.Text)
					if m.Lost {
						text = "(earlier messages are lost)\n" + text
					}
					return f.item(out, m, text)
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes from now on")
	f.add(cmd, true)
	return cmd
}

func newEventsCommand() *cobra.Command {
	var f nodeFlags
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what has happened on nodes since they booted",
		Long: `Shows what has happened since the boot: steps of the boot, services that ended or got
ready, upgrades and their trials, configurations, shutdowns. Kubernetes' own events are
kubectl's.`,
		Example: "  keelson events -f\n  keelson events -n kitchen -o json",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.stream(cmd, func(ctx context.Context, n *node, out *lineWriter) error {
				return n.Events(ctx, 0, follow, func(e machine.Event) error {
					return f.item(out, e, fmt.Sprintf("%s  %-8s  %s", at(e.Time), e.Kind, e.Text))
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes from now on")
	f.add(cmd, true)
	return cmd
}

// stream runs a verb that shows what comes from all nodes, as it comes. Its end by the user is no error.
func (f *nodeFlags) stream(cmd *cobra.Command, run func(ctx context.Context, n *node, out *lineWriter) error) error {
	nodes, err := f.open(false)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	var mu sync.Mutex
	answers := askAll(ctx, nodes, 0, func(_ context.Context, n *node) (struct{}, error) {
		err := run(ctx, n, &lineWriter{mu: &mu, w: cmd.OutOrStdout(), prefix: prefix(nodes, n), node: n.name, several: len(nodes) > 1})
		if ctx.Err() != nil {
			err = nil
		}
		return struct{}{}, err
	})
	return failures(ctx, cmd.ErrOrStderr(), answers)
}

// item writes one thing of a stream: to people as text, to programs as a line of JSON or a document of YAML, with the node if there are several.
func (f *nodeFlags) item(out *lineWriter, v any, text string) error {
	if f.output == outputTable {
		_, err := io.WriteString(out, text+"\n")
		return err
	}
	if out.several {
		v = struct {
			Node  string `json:"node"`
			Value any    `json:"value"`
		}{out.node, v}
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if f.output == outputJSON {
		e := json.NewEncoder(out.w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	if _, err := io.WriteString(out.w, "---\n"); err != nil {
		return err
	}
	return writeValue(out.w, f.output, v)
}
