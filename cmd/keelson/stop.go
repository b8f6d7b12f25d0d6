package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/tests/qemu"
)

// stopLimit is how long a machine may take to power off: PID 1 promises 60 s, and
// emulation may be slow to notice the button.
const stopLimit = 2 * time.Minute

func newStopCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "stop IMAGE",
		Short:   "Power off a machine that \"keelson run\" started",
		Example: "  keelson stop homelab.img",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := machineDir(args[0])
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), stopLimit, fmt.Errorf("not off after %s; --force pulls the plug", stopLimit))
			defer cancel()
			var err error
			if force {
				err = qemu.KillIn(ctx, dir)
			} else {
				fmt.Fprintf(cmd.ErrOrStderr(), "powering off %s ...\n", args[0])
				err = qemu.PowerDown(ctx, dir)
			}
			if errors.Is(err, qemu.ErrNotRunning) {
				return fmt.Errorf("%s: is not running", args[0])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is off\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "pull the plug instead of pressing the power button")
	return cmd
}
