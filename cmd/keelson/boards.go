package main

import (
	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/boards"
)

// listedBoard is a board as "keelson boards" shows it.
type listedBoard struct {
	Name        string `json:"name"`
	Arch        string `json:"arch"`
	Description string `json:"description"`
}

func newBoardsCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "boards",
		Short:   "List the boards that images can be built for",
		Example: "  keelson boards\n  keelson boards -o json",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			var list []listedBoard
			t := table{{"BOARD", "ARCH", "DESCRIPTION"}}
			for _, name := range boards.List() {
				b, err := boards.Load(name)
				if err != nil {
					return err
				}
				list = append(list, listedBoard{b.Name, b.Arch, b.Description})
				t = append(t, []string{b.Name, b.Arch, b.Description})
			}
			if output != outputTable {
				return writeValue(cmd.OutOrStdout(), output, list)
			}
			return t.write(cmd.OutOrStdout())
		},
	}
	addOutput(cmd, &output)
	return cmd
}
