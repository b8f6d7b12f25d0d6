//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// needsLinux says what to do about a verb that only works there.
func needsLinux(verb string) error {
	return fmt.Errorf("\"keelson %s\" needs Linux, as it unpacks Debian packages and compiles for them; this is %s: "+
		"build the image on Linux, in a virtual machine or in a container, and flash or run it here", verb, runtime.GOOS)
}

// newBuildCommand returns the verb that is there on every system, so that nobody looks for it.
func newBuildCommand() *cobra.Command {
	return linuxOnly("build", "Build a disk image for a board (on Linux only)", false)
}

func newBundleBuildCommand() *cobra.Command {
	return linuxOnly("build", "Build a bundle that upgrades a board's nodes (on Linux only)", false)
}

func newRuncCommand() *cobra.Command {
	return linuxOnly("runc", "Compile runc for the nodes (on Linux only)", true)
}

func linuxOnly(verb, short string, hidden bool) *cobra.Command {
	return &cobra.Command{
		Use: verb, Short: short, Hidden: hidden, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error { return needsLinux(verb) },
	}
}

// imageBuild is the building of an image on the way: only Linux has it.
type imageBuild struct{}

func (*imageBuild) flags(*pflag.FlagSet) {}
func (*imageBuild) wanted() bool         { return false }

func (*imageBuild) run(context.Context, io.Writer) (string, func() error, error) {
	return "", nil, needsLinux("flash --board")
}
