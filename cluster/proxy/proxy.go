// Package proxy runs upstream's kube-proxy in nftables mode without its command.
//
// Its server is put together here, not by upstream's newProxyServer, so that it can be
// given a client of its own (see steadyClient).
package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/spf13/pflag"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
	"k8s.io/kubernetes/pkg/proxy"
	proxyconfig "k8s.io/kubernetes/pkg/proxy/apis/config"
	"k8s.io/kubernetes/pkg/proxy/apis/config/scheme"
	"k8s.io/kubernetes/pkg/proxy/conntrack"
	"k8s.io/kubernetes/pkg/proxy/healthcheck"
	"k8s.io/kubernetes/pkg/proxy/nftables"
	proxyutil "k8s.io/kubernetes/pkg/proxy/util"
)

// Options are what kube-proxy needs to know of the node.
type Options struct {
	NodeName    string
	Agent       string // folder of the node's certificates and kubeconfigs
	RunDir      string // for a file that is read back at once
	ClusterCIDR netip.Prefix
	Address     netip.Addr // one that the node always has
	UserFlags   []string   // kube-proxy-arg
}

// ReadyURL answers 200 once the rules have been written.
const ReadyURL = "http://127.0.0.1:10256/healthz"

func (o Options) flags() flags.List {
	return flags.List{
		"hostname-override=" + o.NodeName,
		"kubeconfig=" + filepath.Join(o.Agent, credentials.KubeconfigProxy),
		"proxy-mode=nftables",
		"cluster-cidr=" + o.ClusterCIDR.String(),
		"detect-local-mode=ClusterCIDR",
		// On every address of the node, whichever it has now: "primary" would be the address
		// at start.
		"nodeport-addresses=0.0.0.0/0,::/0",
		"healthz-bind-address=127.0.0.1:10256",
		"metrics-bind-address=127.0.0.1:10249",
		// Upstream's 131072 entries per core; the kernel's default grows with memory already.
		"conntrack-max-per-core=0",
	}
}

// config parses the flags with upstream's own options. Those keep the result to
// themselves but can write it to a file.
func (o Options) config(ctx context.Context) (*proxyconfig.KubeProxyConfiguration, error) {
	upstream := app.NewOptions()
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	upstream.AddFlags(fs)
	if err := fs.Parse(o.flags().Add(o.UserFlags).Args()); err != nil {
		return nil, fmt.Errorf("kube-proxy-arg: %w", err)
	}
	if err := upstream.Complete(fs); err != nil {
		return nil, fmt.Errorf("kube-proxy-arg: %w", err)
	}
	if err := upstream.Validate(); err != nil {
		return nil, fmt.Errorf("kube-proxy-arg: %w", err)
	}
	upstream.WriteConfigTo = filepath.Join(o.RunDir, "kube-proxy.yaml")
	if err := upstream.Run(ctx); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(upstream.WriteConfigTo)
	if err != nil {
		return nil, err
	}
	c := &proxyconfig.KubeProxyConfiguration{}
	if err := runtime.DecodeInto(scheme.Codecs.UniversalDecoder(), text, c); err != nil {
		return nil, fmt.Errorf("read back %s: %w", upstream.WriteConfigTo, err)
	}
	if c.Mode != proxyconfig.ProxyModeNFTables {
		return nil, fmt.Errorf("kube-proxy-arg: proxy-mode: %s: only nftables is supported", c.Mode)
	}
	return c, nil
}

// Run proxies until it fails. Upstream's server cannot be stopped: when ctx ends, Run
// returns and the server goes on until the process ends, which is then at once.
func Run(ctx context.Context, o Options) error {
	c, err := o.config(ctx)
	if err != nil {
		return err
	}
	server, err := o.server(ctx, c)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (o Options) server(ctx context.Context, c *proxyconfig.KubeProxyConfiguration) (*app.ProxyServer, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", c.ClientConnection.Kubeconfig)
	if err != nil {
		return nil, err
	}
	rest.ContentType, rest.AcceptContentTypes = c.ClientConnection.ContentType, c.ClientConnection.AcceptContentTypes
	rest.QPS, rest.Burst = c.ClientConnection.QPS, int(c.ClientConnection.Burst)
	real, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, err
	}
	client := steadyClient{real, o.Address.String()}
	// NewNodeManager waits 30 s for the Node, then goes on without its address and exits the
	// process when the address comes. A first start on a slow board takes longer than that.
	if err := await.Until(ctx, "Node "+o.NodeName, func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().Get(ctx, o.NodeName, metav1.GetOptions{})
		return err
	}); err != nil {
		return nil, err
	}
	manager, err := proxy.NewNodeManager(ctx, client, o.NodeName, c)
	if err != nil {
		return nil, err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	s := &app.ProxyServer{
		Config:          c,
		Client:          client,
		Broadcaster:     broadcaster,
		Recorder:        broadcaster.NewRecorder(scheme.Scheme, "kube-proxy"),
		NodeRef:         &v1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: o.NodeName},
		NodeName:        o.NodeName,
		PrimaryIPFamily: v1.IPv4Protocol,
		NodeIPs:         map[v1.IPFamily]net.IP{v1.IPv4Protocol: o.Address.AsSlice(), v1.IPv6Protocol: net.IPv6loopback},
		NodeManager:     manager,
	}
	if c.HealthzBindAddress != "" {
		s.HealthzServer = healthcheck.NewProxyHealthServer(c.HealthzBindAddress, 2*c.SyncPeriod.Duration, manager)
	}
	if err := conntrack.SetSysctls(ctx, &c.Linux.Conntrack); err != nil {
		return nil, fmt.Errorf("conntrack settings: %w", err)
	}
	local := map[v1.IPFamily]proxyutil.LocalTrafficDetector{
		v1.IPv4Protocol: proxyutil.NewDetectLocalByCIDR(o.ClusterCIDR.String()),
		v1.IPv6Protocol: proxyutil.NewNoOpLocalDetector(),
	}
	// Services have IPv4 addresses only.
	if s.Proxier, err = nftables.NewProxier(ctx, c, v1.IPv4Protocol, local[v1.IPv4Protocol], o.NodeName, s.NodeIPs[v1.IPv4Protocol], s.Recorder, s.HealthzServer, false); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return s, nil
}
