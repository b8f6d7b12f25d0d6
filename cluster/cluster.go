package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-os/keelson/cluster/apiserver"
	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/cluster/controllermanager"
	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/datastore"
	"github.com/keelson-os/keelson/cluster/features"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/keelson-os/keelson/cluster/layout"
	"github.com/keelson-os/keelson/cluster/scheduler"
	"github.com/keelson-os/keelson/cluster/sequence"
	"github.com/keelson-os/keelson/config"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// Notifier hears how far the node is.
type Notifier interface {
	sequence.Observer
	Ready() error
}

// node is what the components are built from.
type node struct {
	config *config.Config
	layout layout.Layout
	name   string // of the Node object
	log    *slog.Logger
	notify Notifier
	store  *credentials.Store
}

// stable is the address that the node always has (RFC 7600).
var stable = netip.MustParseAddr("192.0.0.8")

// Run runs the node until ctx ends (then it returns nil) or a component fails.
// It can be called once in a process.
func Run(ctx context.Context, c *config.Config, l layout.Layout, log *slog.Logger, notify Notifier) error {
	if c.Role != config.RoleServer {
		return fmt.Errorf("role: %s: this version runs servers only; set role: server", c.Role)
	}
	n := &node{config: c, layout: l, log: log, notify: notify}
	var err error
	if n.name, err = nodeName(c); err != nil {
		return err
	}
	if err := n.prepare(); err != nil {
		return err
	}
	if n.store, err = credentials.New(l, c, n.name, log); err != nil {
		return err
	}
	return sequence.Run(ctx, log, notify, n.components(), n.ready)
}

// nodeName is the configured one, or the host's, in lower case as Kubernetes wants it.
func nodeName(c *config.Config) (string, error) {
	name := c.Cluster.NodeName
	if name == "" {
		name = c.Hostname
	}
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return "", err
		}
	}
	return strings.ToLower(name), nil
}

// prepare sets what all components share in one process.
func (n *node) prepare() error {
	// A second component with another logging configuration would be refused.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gates := make(map[string]bool)
	for _, list := range []*[]string{
		&n.config.Cluster.APIServerArgs, &n.config.Cluster.ControllerMgrArgs, &n.config.Cluster.SchedulerArgs,
		&n.config.Cluster.KubeletArgs, &n.config.Cluster.ProxyArgs,
	} {
		rest, err := flags.TakeFeatureGates(*list, gates)
		if err != nil {
			return err
		}
		*list = rest
	}
	return features.Apply(gates)
}

// components is the whole node, in the order of its start.
func (n *node) components() []sequence.Component {
	c, l := n.config.Cluster, n.layout
	ca := filepath.Join(l.ServerTLS(), credentials.ServerCA+".crt")
	return []sequence.Component{
		{
			Name: "credentials",
			Setup: func(context.Context) error {
				return n.store.Ensure([]netip.Addr{stable}, time.Now())
			},
		}, {
			Name: "datastore",
			Run: func(ctx context.Context) error {
				return datastore.Run(ctx, datastore.Options{Dir: l.ServerDB(), Socket: l.DatastoreSocket()})
			},
			Ready: exists(l.DatastoreSocket()),
		}, {
			Name:  "apiserver",
			After: []string{"credentials", "datastore"},
			Run: func(ctx context.Context) error {
				return apiserver.Run(ctx, apiserver.Options{
					TLS: l.ServerTLS(), AuthenticationFile: n.store.AuthenticationFile(), DatastoreSocket: l.DatastoreSocket(),
					Port: c.HTTPSListenPort, ServiceCIDR: c.ServiceCIDR, ClusterDomain: c.ClusterDomain,
					AdvertiseAddress: stable, UserFlags: c.APIServerArgs,
				})
			},
			Ready: answers(fmt.Sprintf("https://127.0.0.1:%d/readyz", c.HTTPSListenPort), ca, ""),
		}, {
			Name:  "controller-manager",
			After: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return controllermanager.Run(ctx, controllermanager.Options{
					TLS: l.ServerTLS(), Kubeconfig: filepath.Join(l.ServerCred(), credentials.KubeconfigControl),
					ClusterCIDR: c.ClusterCIDR, ServiceCIDR: c.ServiceCIDR,
					VolumePluginDir: filepath.Join(l.Kubelet, "volumeplugins"), UserFlags: c.ControllerMgrArgs,
				})
			},
			Ready: answers(controllermanager.ReadyURL, ca, controllermanager.ReadyText),
		}, {
			Name:  "scheduler",
			After: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return scheduler.Run(ctx, scheduler.Options{
					TLS: l.ServerTLS(), Kubeconfig: filepath.Join(l.ServerCred(), credentials.KubeconfigSched),
					UserFlags: c.SchedulerArgs,
				})
			},
			Ready: answers(scheduler.ReadyURL, ca, ""),
		},
	}
}

// answers is ready when url answers 200, with the text in it.
func answers(url, ca, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		probe, err := await.HTTPS(url, ca, text)
		if err != nil {
			return err
		}
		return await.Until(ctx, url, probe)
	}
}

// exists is ready when the file is there.
func exists(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		return await.Until(ctx, path, func(context.Context) error {
			_, err := os.Stat(path)
			return err
		})
	}
}

// ready is called when every component is.
func (n *node) ready(context.Context) error {
	n.log.Info("node is ready", "name", n.name)
	return n.notify.Ready()
}
