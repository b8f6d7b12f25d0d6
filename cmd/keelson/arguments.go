package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// arguments demands the arguments that the command's Use names, such as "run IMAGE"; a
// last one that ends in "..." may be repeated.
func arguments(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	switch repeated := strings.HasSuffix(cmd.Use, "..."); {
	case len(args) < len(names):
		return fmt.Errorf("%s is missing: %s (\"%s --help\" shows examples)", strings.TrimSuffix(names[len(args)], "..."), cmd.UseLine(), cmd.CommandPath())
	case len(args) > len(names) && !repeated:
		return fmt.Errorf("unexpected argument %q, expected: %s", args[len(names)], cmd.UseLine())
	}
	return nil
}

// group puts commands below cmd, which by itself shows its help. A word that is none of
// them is a mistake; cobra alone would show the help and call that a success.
func group(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.AddCommand(commands...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %q?", near[0])
		}
		return fmt.Errorf("unknown command %q%s (\"%s --help\" lists the commands)", args[0], hint, cmd.CommandPath())
	}
}
