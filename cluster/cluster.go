package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/features"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/keelson-os/keelson/cluster/layout"
	_ "github.com/keelson-os/keelson/cluster/quiet" // see its comment
	"github.com/keelson-os/keelson/cluster/sequence"
	"github.com/keelson-os/keelson/config"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// TrialVariable is the environment variable that PID 1 sets to 1 for the node process of a boot
// that has to prove itself.
const TrialVariable = "KEELSON_TRIAL"

// Notifier hears how far the node is.
type Notifier interface {
	sequence.Observer
	Ready() error
	// Healthy says after Ready why the node does not do its work; empty: it does.
	Healthy(reason string) error
}

// node is what the components are built from.
type node struct {
	config *config.Config
	layout layout.Layout
	name   string // of the Node object
	log    *slog.Logger
	notify Notifier
	store  *credentials.Store
	watch  *address.Watcher

	trial bool          // this boot has to prove itself
	up    chan struct{} // closed when all components are ready and PID 1 knows

	earlier metav1.Time // the Node's last heartbeat before this process; see remember
}

// Run runs the node until ctx ends (then it returns nil) or a component fails.
// It can be called once in a process.
func Run(ctx context.Context, c *config.Config, l layout.Layout, log *slog.Logger, notify Notifier) error {
	if c.Role != config.RoleServer {
		return fmt.Errorf("role: %s: this version runs servers only; set role: server", c.Role)
	}
	n := &node{config: c, layout: l, log: log, notify: notify, trial: os.Getenv(TrialVariable) == "1", up: make(chan struct{})}
	var err error
	if n.name, err = nodeName(c); err != nil {
		return err
	}
	if f := c.Cluster.ResolvConf; f != "" {
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("resolv-conf: %w: put the file there, or remove the key to take the node's own", err)
		}
	}
	if err := n.prepare(); err != nil {
		return err
	}
	if n.store, err = credentials.New(l, c, n.name, log); err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	n.watch = address.New(address.Options{
		HostsFile: l.Hosts, Names: []string{n.name, hostname}, Interface: c.Cluster.FlannelIface,
		NodeIP: c.Cluster.NodeIP, Services: c.Cluster.ServiceCIDR, Log: log,
	})
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
