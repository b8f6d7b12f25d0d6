package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeLimit is how long a completion may ask a node: somebody waits with a finger on the key.
const completeLimit = 2 * time.Second

// beginning are the words that begin with what was typed.
func beginning(words []string, typed string) []string {
	var list []string
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			list = append(list, w)
		}
	}
	return list
}

// completeNodes completes -n: the nodes of the context that the command line names, behind the commas that are there already.
func completeNodes(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	name, _ := cmd.Flags().GetString("context")
	t, err := (&nodeFlags{context: name}).target()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before, last := "", typed
	if k := strings.LastIndexByte(typed, ','); k >= 0 {
		before, last = typed[:k+1], typed[k+1:]
	}
	var list []string
	for _, n := range beginning(t.Nodes, last) {
		list = append(list, before+n)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func completeContexts(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	c, err := loadContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return beginning(c.names(), typed), cobra.ShellCompDirectiveNoFileComp
}

func completeContextArgument(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeContexts(cmd, args, typed)
}

// usualServices are every node's.
var usualServices = []string{"init", "machined", "node"}

// completeServices asks the nodes for their services; where none answers soon, every node's are offered.
func completeServices(f *nodeFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := usualServices
		if nodes, err := f.open(false); err == nil {
			answers := askAll(cmd.Context(), nodes, completeLimit, func(ctx context.Context, n *node) ([]string, error) {
				list, err := n.Services(ctx)
				var names []string
				for _, s := range list {
					names = append(names, s.Name)
				}
				return names, err
			})
			if list := good(answers); len(list) > 0 {
				names = list[0].value
			}
		}
		return beginning(names, typed), cobra.ShellCompDirectiveNoFileComp
	}
}
