package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newServicesCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "services",
		Short:   "List the services of nodes: what PID 1 keeps running",
		Example: "  keelson services",
		Args:    arguments,
		RunE: asking(&f, func(n *node) call[[]machine.Service] { return n.Services },
			[]string{"SERVICE", "PID", "READY", "UP", "RESTARTS", "STATUS", "LAST EXIT"}, func(list []machine.Service) (t table) {
				for _, s := range list {
					pid, up := "", ""
					if s.PID != 0 {
						pid, up = strconv.Itoa(s.PID), span(time.Since(s.Since))
					}
					t = append(t, []string{s.Name, pid, cmp.Or(yes(s.Ready, "yes"), "no"), up, strconv.Itoa(s.Restarts), s.Status, s.LastExit})
				}
				return t
			}),
	}
	f.add(cmd, true)
	return cmd
}

func newPsCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "ps",
		Short:   "List the processes of nodes",
		Example: "  keelson ps",
		Args:    arguments,
		RunE: asking(&f, func(n *node) call[[]machine.Process] { return n.Processes },
			[]string{"PID", "PARENT", "USER", "STATE", "THREADS", "CPU", "MEMORY", "POD", "COMMAND"}, func(list []machine.Process) (t table) {
				for _, p := range list {
					memory := mebibytes(p.Memory)
					if p.Command == "" {
						memory = "" // a kernel thread
					}
					t = append(t, []string{strconv.Itoa(p.PID), strconv.Itoa(p.Parent), strconv.Itoa(p.User), p.State, strconv.Itoa(p.Threads),
						span(p.CPU.Duration()), memory, shortPod(p.Pod), cmp.Or(p.Command, "["+p.Name+"]")})
				}
				return t
			}),
	}
	f.add(cmd, true)
	return cmd
}

// shortPod is enough of a pod's UID to tell pods apart.
func shortPod(uid string) string { return uid[:min(len(uid), 8)] }

func newRestartCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "restart SERVICE",
		Short: "Restart a service of nodes",
		Long: `Restarts a service: "node" is Kubernetes (the pods go on meanwhile), "machined" the machine
API itself.`,
		Example:           "  keelson restart node -n kitchen",
		Args:              arguments,
		ValidArgsFunction: completeServices(&f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.act(cmd, "restarts "+args[0], func(ctx context.Context, n *node) error { return n.Restart(ctx, args[0]) })
		},
	}
	f.add(cmd, false)
	return cmd
}

// act runs a verb that changes nodes and has no answer but that it has begun.
func (f *nodeFlags) act(cmd *cobra.Command, does string, do func(context.Context, *node) error) error {
	nodes, err := f.open(true)
	if err != nil {
		return err
	}
	answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (struct{}, error) { return struct{}{}, do(ctx, n) })
	for _, a := range good(answers) {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", a.node.name, does)
	}
	return failures(cmd.Context(), cmd.ErrOrStderr(), answers)
}
