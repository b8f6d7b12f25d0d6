package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/boards"
)

func newBoardsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "boards",
		Short:   "List the boards that images can be built for",
		Example: "  keelson boards",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "BOARD\tARCH\tDESCRIPTION")
			for _, name := range boards.List() {
				b, err := boards.Load(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", b.Name, b.Arch, b.Description)
			}
			return w.Flush()
		},
	}
}
