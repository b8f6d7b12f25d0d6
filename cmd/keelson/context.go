package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newContextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Say which clusters' nodes to talk to",
		Long: `A context says how the nodes of a cluster are reached: their addresses, the machine CA's
certificate, and your client certificate with its key. The current one is taken where no
--context says otherwise. They are kept in the file keelson/contexts.yaml of your
configuration folder, or the one that KEELSON_CONTEXT_FILE names.`,
	}
	group(cmd, newContextAddCommand(), newContextUseCommand(), newContextListCommand(), newContextRemoveCommand())
	return cmd
}

// contextName is what a context may be called.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func newContextAddCommand() *cobra.Command {
	var dir string
	var nodes []string
	var embed, replace bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a context, from a cluster's folder",
		Long: `Adds a context from the folder that "keelson config new" or "keelson config client" has
made; it takes machine-ca.crt, client.crt and client.key there. The first context becomes
the current one.`,
		Example: `  keelson context add home --dir homelab --node kitchen-pi.lan --node 10.0.0.11
  keelson context add home --dir homelab --embed`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if !contextName.MatchString(name) {
				return fmt.Errorf("context name %q: expected letters, digits, \".\", \"_\" and \"-\"", name)
			}
			c, err := loadContexts()
			if err != nil {
				return err
			}
			if _, ok := c.Contexts[name]; ok && !replace {
				return fmt.Errorf("there is a context %q already: choose another name, or --replace it", name)
			}
			dir = cmp.Or(dir, name)
			a, err := folderAccess(dir)
			if err != nil {
				return err
			}
			from := ""
			if a.Nodes = nodes; len(nodes) == 0 {
				if host := kubeconfigHost(filepath.Join(dir, "kubeconfig")); host != "" {
					a.Nodes = []string{host}
					from = " (the API server's host in its kubeconfig; --node says others)"
				}
			}
			for _, n := range a.Nodes {
				if _, err := machine.WithPort(n); err != nil {
					return fmt.Errorf("--node: %w", err)
				}
			}
			if err := a.check(embed); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			c.Contexts[name] = a
			c.Current = cmp.Or(c.Current, name)
			if err := c.save(); err != nil {
				return err
			}
			what := "added"
			if c.Current == name {
				what = "added, and current"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "context %q is %s; nodes: %s%s\n", name, what, cmp.Or(strings.Join(a.Nodes, ", "), "none, so say which with -n"), from)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the cluster's folder (default: NAME)")
	cmd.Flags().StringSliceVar(&nodes, "node", nil, "HOST[:PORT] of a node; repeat it for more (default: the API server's host in the folder's kubeconfig)")
	cmd.Flags().BoolVar(&embed, "embed", false, "copy the certificates and the key into the context file, so that the folder is not needed any more")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace a context of this name")
	cmd.MarkFlagDirname("dir")
	return cmd
}

// check checks that the credentials can be used; with embed it puts their text in the place of their paths.
func (a *access) check(embed bool) error {
	var c machine.Config
	for _, x := range []struct {
		what  string
		value *string
		into  *[]byte
	}{{"ca", &a.CA, &c.CA}, {"cert", &a.Cert, &c.Cert}, {"key", &a.Key, &c.Key}} {
		var err error
		if *x.into, err = pemOf(x.what, *x.value, ""); err != nil {
			return err
		}
		if embed {
			*x.value = string(*x.into)
		}
	}
	return checkClient(c, time.Now())
}

func newContextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Example:           "  keelson context use home",
		Args:              arguments,
		ValidArgsFunction: completeContextArgument,
		RunE: changeContext(func(c *contexts, name string) string {
			c.Current = name
			return "is current"
		}),
	}
}

func newContextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Remove a context; the cluster's folder stays",
		Example:           "  keelson context remove home",
		Args:              arguments,
		ValidArgsFunction: completeContextArgument,
		RunE: changeContext(func(c *contexts, name string) string {
			delete(c.Contexts, name)
			if c.Current != name {
				return "is removed"
			}
			c.Current = ""
			return "is removed; none is current now"
		}),
	}
}

// changeContext runs a verb that changes the context named by its argument; change returns what has become of it.
func changeContext(change func(c *contexts, name string) string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		name := args[0]
		c, err := loadContexts()
		if err != nil {
			return err
		}
		if _, ok := c.Contexts[name]; !ok {
			return c.unknown(name)
		}
		what := change(c, name)
		if err := c.save(); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "context %q %s\n", name, what)
		return nil
	}
}

// listedContext is a context as "keelson context list" shows it.
type listedContext struct {
	Name        string   `json:"name"`
	Current     bool     `json:"current"`
	Nodes       []string `json:"nodes"`
	Certificate string   `json:"certificate"` // a path, or "(embedded)"
}

func newContextListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the contexts",
		Example: "  keelson context list",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			c, err := loadContexts()
			if err != nil {
				return err
			}
			if len(c.Contexts) == 0 {
				return errors.New("there are no contexts in " + c.path + ": keelson context add NAME --dir FOLDER --node ADDRESS")
			}
			var list []listedContext
			t := table{{"CURRENT", "NAME", "NODES", "CERTIFICATE"}}
			for _, name := range c.names() {
				a := c.Contexts[name]
				cert := a.Cert
				if strings.Contains(cert, "-----BEGIN ") {
					cert = "(embedded)"
				}
				current := " "
				if name == c.Current {
					current = "*"
				}
				list = append(list, listedContext{name, name == c.Current, append([]string{}, a.Nodes...), cert})
				t = append(t, []string{current, name, strings.Join(a.Nodes, ","), cert})
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

// names are the contexts', sorted.
func (c *contexts) names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

func (c *contexts) unknown(name string) error {
	return fmt.Errorf("there is no context %q in %s (%s)", name, c.path, cmp.Or(strings.Join(c.names(), ", "), "it has none"))
}
