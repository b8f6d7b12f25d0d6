// Package scheduler runs upstream's kube-scheduler without its command.
package scheduler

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Options are what the scheduler needs to know of the node.
type Options struct {
	TLS        string // folder of the control plane's certificates
	Kubeconfig string
	UserFlags  []string // kube-scheduler-arg
}

// port is upstream's; it is open on the loopback address only.
const port = "10259"

// ReadyURL answers 200 once the scheduler has seen the cluster.
const ReadyURL = "https://127.0.0.1:" + port + "/readyz"

func (o Options) flags() flags.List {
	tls := func(name string) string { return filepath.Join(o.TLS, name) }
	return flags.List{
		"kubeconfig=" + o.Kubeconfig,
		"authentication-kubeconfig=" + o.Kubeconfig,
		"authorization-kubeconfig=" + o.Kubeconfig,
		"bind-address=127.0.0.1",
		"secure-port=" + port,
		"tls-cert-file=" + tls(credentials.ServingScheduler+".crt"),
		"tls-private-key-file=" + tls(credentials.ServingScheduler+".key"),
		"client-ca-file=" + tls(credentials.ClientCA+".crt"),
		"requestheader-client-ca-file=" + tls(credentials.RequestHeaderCA+".crt"),
		"profiling=false",
		// One server: an election has one candidate. Off saves a lease written every 2 s.
		"leader-elect=false",
	}
}

// Run schedules until ctx ends or the scheduler fails.
func Run(ctx context.Context, o Options) error {
	s := options.NewOptions()
	fs := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range s.Flags.FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(o.flags().Add(o.UserFlags).Args()); err != nil {
		return fmt.Errorf("kube-scheduler-arg: %w", err)
	}
	completed, sched, err := app.Setup(ctx, s)
	if err != nil {
		return fmt.Errorf("kube-scheduler-arg: %w", err)
	}
	return app.Run(ctx, completed, sched)
}
