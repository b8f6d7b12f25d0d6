package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
)

func newConfigClientCommand() *cobra.Command {
	var dir, role, out string
	var days int
	cmd := &cobra.Command{
		Use:   "client NAME",
		Short: "Issue one more client certificate for the machine API",
		Long: `Issues a client certificate for the machine API from a cluster's secrets.yaml, and makes the
folder that somebody else's "keelson context add" takes: machine-ca.crt, client.crt and
client.key, and nothing else of the cluster's. NAME tells its uses apart in the nodes' logs.

The role "read-only" sees everything but secrets and changes nothing; "admin" may do all.
A certificate cannot be called back before it expires.`,
		Example: `  keelson config client monitoring --dir homelab --out monitoring
  keelson config client anna --dir homelab --role admin --days 90 --out anna`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if role != machine.RoleAdmin && role != machine.RoleReadOnly {
				return fmt.Errorf("--role: found %q, expected %s or %s", role, machine.RoleAdmin, machine.RoleReadOnly)
			}
			if days < 1 || days > 3650 {
				return fmt.Errorf("--days: found %d, expected 1 to 3650", days)
			}
			if out == "" {
				out = args[0]
			}
			path := filepath.Join(dir, clusterServer)
			cfg, err := config.Load(path)
			if err != nil {
				return explainFile(err, path)
			}
			now := time.Now()
			files, err := generate.MachineClient(out, cfg.Secrets, args[0], role, time.Duration(days)*24*time.Hour, now)
			if err != nil {
				return err
			}
			what := map[string]string{
				generate.MachineCAFile: "whom to believe: the machine CA's certificate",
				clientCertFile:         fmt.Sprintf("%s, until %s", role, now.AddDate(0, 0, days).Format(time.DateOnly)),
				clientKeyFile:          "its key: keep it safe",
			}
			for _, name := range files {
				fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n", filepath.Join(out, name), what[name])
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\nnext: keelson context add NAME --dir %s --node ADDRESS\n", out)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", ".", "the cluster's folder, with server.yaml and secrets.yaml")
	f.StringVar(&role, "role", machine.RoleReadOnly, "admin or read-only")
	f.IntVar(&days, "days", 365, "how long the certificate is valid")
	f.StringVar(&out, "out", "", "folder to make (default: NAME)")
	cmd.MarkFlagDirname("dir")
	cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{machine.RoleAdmin, machine.RoleReadOnly}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
