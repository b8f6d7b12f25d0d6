package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

// programVersion is what this program is.
type programVersion struct {
	Version string `json:"version"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	API     int    `json:"api"` // of the machine API
}

func newVersionCommand() *cobra.Command {
	var f nodeFlags
	var client bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of nodes",
		Long: `Shows the version of this program, and what runs on the nodes, if any are known: version,
board, Kubernetes, kernel and slot.`,
		Example: "  keelson version\n  keelson version --client",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			own := programVersion{version, runtime.GOOS, runtime.GOARCH, machine.APIVersion}
			var nodes []*node
			if !client {
				var err error
				if nodes, err = f.open(false); err != nil && (!errors.Is(err, errNoTarget) || len(f.nodes) > 0) {
					return err
				}
			}
			return showVersions(cmd, &f, own, nodes)
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "show this program's alone")
	f.add(cmd, true)
	return cmd
}

func showVersions(cmd *cobra.Command, f *nodeFlags, own programVersion, nodes []*node) error {
	answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (machine.Version, error) { return n.Version(ctx) })
	failed := failures(cmd.Context(), cmd.ErrOrStderr(), answers)
	out := cmd.OutOrStdout()
	if f.output != outputTable {
		byNode := map[string]machine.Version{}
		for _, a := range good(answers) {
			byNode[a.node.name] = a.value
		}
		return errors.Join(writeValue(out, f.output, struct {
			Client programVersion             `json:"client"`
			Nodes  map[string]machine.Version `json:"nodes"`
		}{own, byNode}), failed)
	}
	return errors.Join(writeVersions(out, own, good(answers)), failed)
}

func writeVersions(w io.Writer, own programVersion, list []answer[machine.Version]) error {
	fmt.Fprintf(w, "keelson %s, %s/%s\n", own.Version, own.OS, own.Arch)
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := table{{"NODE", "NAME", "VERSION", "SERIAL", "BOARD", "ARCH", "KUBERNETES", "KERNEL", "SLOT"}}
	for _, a := range list {
		v := a.value
		t = append(t, []string{a.node.name, v.Node, v.Version, strconv.FormatInt(v.Serial, 10), v.Board, v.Arch, v.Kubernetes, v.Kernel, v.Slot})
	}
	return t.write(w)
}
