// Package flannel connects the pods of all nodes: flannel's packages, without its main,
// which cleans up iptables and exits when that is missing.
//
//	Node has a pod CIDR ─▶ CNI configuration ─▶ masquerading ─▶ overlay on the node's link
//	                              ▲                                   │
//	                              └──────── address changed ──────────┘
package flannel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // registers host-gw
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"  // registers vxlan
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/cluster/cni"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Options are what the network needs to know of the node.
type Options struct {
	NodeName    string
	Kubeconfig  string
	RunDir      string // for what a reboot may lose
	CNIConf     string // containerd's CNI folder
	ClusterCIDR netip.Prefix
	Backend     string // vxlan or host-gw
	Addresses   <-chan address.Addresses
	Log         *slog.Logger
}

// Network is the node's part of the pod network. Make it with New, call Run once.
type Network struct {
	options Options
	ready   chan struct{}
	once    sync.Once
}

// New returns a network that does nothing yet.
func New(o Options) *Network { return &Network{options: o, ready: make(chan struct{})} }

// Ready blocks until pods can have addresses on this node, or ctx ends. Other nodes may
// not be reached yet.
func (n *Network) Ready(ctx context.Context) error {
	select {
	case <-n.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// vxlanOverhead is what VXLAN adds to each packet, bytes.
const vxlanOverhead = 50

// Run connects the node until ctx ends. It starts the overlay anew whenever the node's
// main address or its link changes.
func (n *Network) Run(ctx context.Context) error {
	o := n.options
	rest, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	cidr, err := podCIDR(ctx, client, o.NodeName)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var now address.Addresses
	select {
	case now = <-o.Addresses:
	case <-ctx.Done():
		return nil
	}
	for {
		next, err := n.attach(ctx, cidr, now)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// The link may just have gone: what comes next is another address, or another try.
			o.Log.Warn("overlay network not up, trying again", "link", now.Link, "address", now.Primary, "err", err)
			select {
			case next = <-o.Addresses:
			case <-time.After(2 * time.Second):
				next = now
			case <-ctx.Done():
				return nil
			}
		}
		now = next
	}
}

// podCIDR waits until the controller manager has given the node its addresses.
func podCIDR(ctx context.Context, client kubernetes.Interface, node string) (netip.Prefix, error) {
	var out netip.Prefix
	err := await.Until(ctx, "the pod CIDR of node "+node, func(ctx context.Context) error {
		n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, text := range append(n.Spec.PodCIDRs, n.Spec.PodCIDR) {
			if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
				out = p
				return nil
			}
		}
		return errors.New("none yet")
	})
	return out, err
}

// attach runs the overlay on one address, and returns the next one.
func (n *Network) attach(ctx context.Context, cidr netip.Prefix, now address.Addresses) (address.Addresses, error) {
	o := n.options
	link, err := net.InterfaceByName(now.Link)
	if err != nil {
		return now, fmt.Errorf("link %s: %w", now.Link, err)
	}
	mtu := link.MTU
	if o.Backend == "vxlan" {
		mtu -= vxlanOverhead
	}
	if err := cni.Write(o.CNIConf, cni.Config{PodCIDR: cidr, MTU: mtu, DataDir: filepath.Join(o.RunDir, "cni")}); err != nil {
		return now, err
	}
	n.once.Do(func() { close(n.ready) })
	if err := n.masquerade(ctx, cidr); err != nil {
		return now, err
	}

	run, stop := context.WithCancel(ctx)
	manager, config, err := n.manager(run)
	if err != nil {
		stop()
		return now, err
	}
	external := &backend.ExternalInterface{Iface: link, IfaceName: link.Name, IfaceAddr: now.Primary.AsSlice(), ExtAddr: now.Primary.AsSlice()}
	be, err := backend.NewManager(run, manager, external).GetBackend(o.Backend)
	if err != nil {
		stop()
		return now, err
	}
	var wg sync.WaitGroup
	network, err := be.RegisterNetwork(run, &wg, config)
	if err != nil {
		stop()
		return now, err
	}
	o.Log.Info("overlay network up", "backend", o.Backend, "link", now.Link, "address", now.Primary, "pods", cidr)
	wg.Go(func() { network.Run(run) })
	defer wg.Wait()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return now, nil
		case next := <-o.Addresses:
			if next.Primary != now.Primary || next.Link != now.Link {
				return next, nil
			}
		}
	}
}

// manager makes flannel's view of the nodes. It takes its settings from a file and an
// environment variable.
func (n *Network) manager(ctx context.Context) (subnet.Manager, *subnet.Config, error) {
	o := n.options
	text, err := json.Marshal(map[string]any{
		"Network":        o.ClusterCIDR.String(),
		"EnableIPv4":     true,
		"EnableNFTables": true,
		// Upstream's kernel default port is not IANA's; k3s uses 8472 as well.
		"Backend": map[string]any{"Type": o.Backend, "Port": 8472},
	})
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(o.RunDir, "net-conf.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.Setenv("NODE_NAME", o.NodeName); err != nil {
		return nil, nil, err
	}
	m, err := kube.NewSubnetManager(ctx, "", o.Kubeconfig, "flannel.alpha.coreos.com", file, false)
	if err = errors.Join(err, os.Unsetenv("NODE_NAME")); err != nil {
		return nil, nil, err
	}
	config, err := m.GetNetworkConfig(ctx)
	return m, config, err
}

// masquerade lets pods reach the world under the node's address.
func (n *Network) masquerade(ctx context.Context, cidr netip.Prefix) error {
	rules := &nftables.NFTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return err
	}
	l := &lease.Lease{EnableIPv4: true, Subnet: net4(cidr)}
	return rules.SetupAndEnsureMasqRules(ctx, net4(n.options.ClusterCIDR), ip.IP4Net{}, ip.IP4Net{}, ip.IP6Net{}, ip.IP6Net{}, ip.IP6Net{}, l, 0, false)
}

func net4(p netip.Prefix) ip.IP4Net {
	p = p.Masked()
	return ip.IP4Net{IP: ip.FromIP(p.Addr().AsSlice()), PrefixLen: uint(p.Bits())}
}
