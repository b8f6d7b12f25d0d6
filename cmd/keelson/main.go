// Command keelson is the operator's tool: it makes a cluster's configuration, builds
// images for boards, and runs them in QEMU. It runs on a laptop, as an ordinary user.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the program is linked.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks; the second one ends the program at once, unless a verb
	// listens to signals itself.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	var shown *shownError
	if !errors.As(err, &shown) {
		fmt.Fprintf(os.Stderr, "keelson: %v\n", err)
	}
	os.Exit(1)
}

// shownError is an error whose text the user has already seen.
type shownError struct{ err error }

func (e *shownError) Error() string { return e.err.Error() }
func (e *shownError) Unwrap() error { return e.err }

// run is main with everything it touches passed in.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:   "keelson",
		Short: "Build, configure, run and manage Keelson, an immutable OS for Kubernetes",
		Long: `Keelson is an immutable appliance OS for Kubernetes: build one image, flash it or
boot it in QEMU, and a node is there. Running nodes are asked and changed by their machine
API: "keelson status" and the other verbs for nodes take -n NODE, or the nodes of a context.`,
		Example: `  keelson config new homelab
  keelson build --board pc --config homelab/server.yaml --out homelab.img
  keelson run homelab.img
  keelson kubectl get nodes
  keelson status`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (\"%s --help\" shows the flags)", err, cmd.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: groupImages, Title: "Images and virtual machines:"}, &cobra.Group{ID: groupNodes, Title: "Nodes, by their machine API (-n NODE):"})
	group(root, inGroup(groupImages,
		newConfigCommand(),
		newBuildCommand(),
		newBundleCommand(),
		newFlashCommand(),
		newBoardsCommand(),
		newRunCommand(),
		newStopCommand(),
		newKubectlCommand(),
	)...)
	root.AddCommand(inGroup(groupNodes,
		newContextCommand(),
		newStatusCommand(),
		newVersionCommand(),
		newServicesCommand(),
		newLogsCommand(),
		newDmesgCommand(),
		newEventsCommand(),
		newPsCommand(),
		newDisksCommand(),
		newNetworkCommand(),
		newTimeCommand(),
		newCertificatesCommand(),
		newUpgradeCommand(),
		newRollbackCommand(),
		newRestartCommand(),
		newRebootCommand(),
		newPowerOffCommand(),
		newResetCommand(),
		newKubeconfigCommand(),
		newSupportCommand(),
	)...)
	root.AddCommand(newRuncCommand())
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// The groups of verbs in the program's help.
const (
	groupImages = "images"
	groupNodes  = "nodes"
)

func inGroup(id string, commands ...*cobra.Command) []*cobra.Command {
	for _, c := range commands {
		c.GroupID = id
	}
	return commands
}
