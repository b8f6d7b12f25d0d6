//go:build linux

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/imagebuilder/runc"
)

// newRuncCommand returns the verb that the Makefile compiles runc with. Users never
// need it by itself, so it is not listed.
func newRuncCommand() *cobra.Command {
	var o runc.Options
	cmd := &cobra.Command{
		Use:    "runc",
		Short:  "Compile runc for the nodes against locked Debian libraries",
		Hidden: true,
		Args:   arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			return runc.Build(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Arch, "arch", "amd64", "architecture of the nodes: amd64 or arm64")
	f.StringVar(&o.Source, "source", "imagebuilder/programs", "folder of the Go module that requires runc")
	f.StringVar(&o.Out, "out", "", "file to write")
	f.StringVar(&o.Mirror, "mirror", "", "Debian mirror, ARCHIVE or ARCHIVE,SECURITY (default: the host's own)")
	f.StringVar(&o.UpdateLock, "update-lock", "", "resolve the packages anew and write the lock to this file")
	f.BoolVar(&o.AllowMoved, "allow-moved-packages", false, allowMovedUsage)
	_ = cmd.MarkFlagRequired("out") // errors only for an unknown flag
	return cmd
}
