package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newConfigGetCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Show the configuration in force on a node",
		Long: `Shows keelson.yaml as it is in force on a node, without secrets. It may be changed and given
back to "keelson config apply": where a secret was taken out, the node puts its own back.`,
		Example: "  keelson config get -n kitchen > kitchen.yaml",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(false)
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) ([]byte, error) { return n.Config(ctx) })
			for _, a := range good(answers) {
				if len(answers) > 1 {
					fmt.Fprintf(cmd.OutOrStdout(), "---\n# %s\n", a.node.name)
				}
				if _, err := cmd.OutOrStdout().Write(a.value); err != nil {
					return err
				}
			}
			return failures(cmd.Context(), cmd.ErrOrStderr(), answers)
		},
	}
	f.add(cmd, false)
	return cmd
}

// configMax bounds a configuration, in bytes, as the node does.
const configMax = 1 << 20

func newConfigApplyCommand() *cobra.Command {
	var f nodeFlags
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Give a node a new configuration",
		Long: `Gives a node a new keelson.yaml. The node checks it, as "keelson config validate" does, keeps
the secrets it has, and reboots to take it. If it does not get healthy with it, it goes
back to the old one by itself. "-" reads the configuration from the standard input.`,
		Example: "  keelson config apply kitchen.yaml -n kitchen --wait",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readConfig(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			nodes, err := f.open(true)
			if err != nil {
				return err
			}
			var mu sync.Mutex
			answers := askAll(cmd.Context(), nodes, 0, func(ctx context.Context, n *node) (machine.ConfigChange, error) {
				p := steps(cmd, nodes, &mu, n)
				change, err := applyConfig(ctx, n, text, w, p)
				p.end(err == nil)
				return change, err
			})
			return show(cmd, &f, answers, func(out io.Writer, list []answer[machine.ConfigChange]) error {
				for _, a := range list {
					what := "this configuration is in force already"
					switch {
					case a.value.Changed && w.wait:
						what = "the new configuration is in force, and the node is healthy"
					case a.value.Changed:
						what = "takes the new configuration and reboots; \"keelson status\" tells what comes of it"
					}
					fmt.Fprintf(out, "%s: %s\n", a.node.name, what)
				}
				return nil
			})
		},
	}
	w.add(cmd, false, "the node is healthy with it, or the old one is back")
	f.add(cmd, true)
	return cmd
}

func readConfig(stdin io.Reader, path string) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, explainFile(err, path)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, configMax+1))
	if err != nil {
		return nil, explainFile(err, path)
	}
	if len(text) > configMax {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, configMax)
	}
	return text, nil
}

func applyConfig(ctx context.Context, n *node, text []byte, w waitFlags, p *progress) (machine.ConfigChange, error) {
	limit, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	watch, err := newWatch(limit, n, func(step string) { p.Step(step, 0) })
	if err != nil {
		return machine.ConfigChange{}, err
	}
	change, err := n.PutConfig(limit, text)
	if err == nil && w.wait && change.Reboot {
		err = watch.configured(ctx, w.timeout)
	}
	return change, err
}
