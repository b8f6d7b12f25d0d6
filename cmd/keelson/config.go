package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Make, check and change machine configurations",
	}
	group(cmd, newConfigNewCommand(), newConfigValidateCommand(), newConfigEditCommand(), newConfigGetCommand(), newConfigApplyCommand(), newConfigClientCommand())
	return cmd
}

func newConfigNewCommand() *cobra.Command {
	var o generate.Options
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a new cluster: its secrets, configurations and kubeconfig",
		Long: `Makes the directory NAME with everything a new cluster needs, before any node exists:

  secrets.yaml            certificate authorities and join tokens; keep it safe
  server.yaml agent.yaml  machine configurations, to be edited
  kubeconfig              for kubectl, as the cluster's administrator
  client.crt client.key   for the machine API, as its administrator
  machine-ca.crt          whom to believe that it is a node of the cluster
  release.key release.pub            what upgrades are signed with, and checked with
  release-next.key release-next.pub  a second pair, for when the first is lost or replaced

All files but the public keys are readable by you alone (0600). Images built with server.yaml
trust both release keys: keep release-next.key elsewhere. No node gets either. An existing cluster is never written over.
The administrators' certificates are valid for ten years.`,
		Example: `  keelson config new homelab
  keelson config new homelab --hostname kitchen-pi --endpoint kitchen-pi.lan --endpoint 10.0.0.10`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := filepath.Clean(args[0])
			o.Name, o.Now = filepath.Base(dir), time.Now()
			files, err := generate.New(dir, o)
			if err != nil {
				return err
			}
			what := map[string]string{
				"secrets.yaml": "certificate authorities and tokens: keep it safe, keep a copy",
				"server.yaml":  "a server's configuration: edit it as you like",
				"agent.yaml":   "an agent's configuration",
				"kubeconfig":   "for kubectl",
				"client.crt":   "for the machine API",
				"client.key":   "its key",
				machineCAFile:  "its certificate authority",

				config.ReleaseKey:        "signs upgrades: keep it safe",
				config.ReleasePublic:     "its public key, for images",
				config.NextReleaseKey:    "signs them when the first is lost: keep it elsewhere",
				config.NextReleasePublic: "its public key, for images too",
			}
			out := cmd.OutOrStdout()
			width := 0
			for _, name := range files {
				width = max(width, len(filepath.Join(dir, name)))
			}
			for _, name := range files {
				fmt.Fprintf(out, "%-*s  %s\n", width, filepath.Join(dir, name), what[name])
			}
			fmt.Fprintf(out, "\nnext: keelson build --board pc --config %s --out %s.img\n", filepath.Join(dir, "server.yaml"), o.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Hostname, "hostname", "", "host name of the first server (default NAME)")
	f.StringArrayVar(&o.Endpoints, "endpoint", nil, "HOST[:PORT] where the API will be reached; repeat it for more (default 127.0.0.1:6443, where \"keelson run\" puts it)")
	return cmd
}

func newConfigValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check machine configurations",
		Long: `Checks each machine configuration and the secrets it names, and shows every mistake with
its line, as the node itself would. Exits with 1 if there is any.`,
		Example: "  keelson config validate homelab/server.yaml",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			bad := 0
			for _, file := range args {
				cfg, err := config.Validate(file)
				var list *config.Errors
				switch {
				case errors.As(err, &list):
					bad++
					fmt.Fprintln(cmd.ErrOrStderr(), list)
				case err != nil:
					bad++
					fmt.Fprintln(cmd.ErrOrStderr(), explainFile(err, file))
				case cfg.Role == config.RoleAgent:
					fmt.Fprintf(cmd.OutOrStdout(), "%s: OK (an agent's; this version can check it but not build an image of it)\n", file)
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s: OK\n", file)
				}
			}
			if bad > 0 {
				return &shownError{fmt.Errorf("%d of %d files have mistakes", bad, len(args))}
			}
			return nil
		},
	}
}

// explainFile says what to do about a configuration that cannot be read; other errors it
// returns as they are.
func explainFile(err error, file string) error {
	var pe *fs.PathError
	switch {
	case !errors.As(err, &pe) || pe.Path != file:
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; \"keelson config new NAME\" makes NAME/server.yaml", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w; give the file in it, such as %s", err, filepath.Join(file, "server.yaml"))
	}
	return err
}
