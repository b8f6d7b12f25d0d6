package cluster

import (
	"context"
	"encoding/base64"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/keelson-os/keelson/cluster/addon/dns"
	"github.com/keelson-os/keelson/cluster/addon/helm"
	"github.com/keelson-os/keelson/cluster/addon/manifest"
	"github.com/keelson-os/keelson/cluster/addon/metrics"
	"github.com/keelson-os/keelson/cluster/addon/packaged"
	"github.com/keelson-os/keelson/cluster/addon/servicelb"
	"github.com/keelson-os/keelson/cluster/addon/storage"
	"github.com/keelson-os/keelson/cluster/addon/upgrade"
	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/sequence"
	"github.com/keelson-os/keelson/overlays"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// sharedInformers returns the one factory of informers of all addons. It is made when the first
// of them starts: before, there are no credentials for its client.
type sharedInformers func() (informers.SharedInformerFactory, error)

// addons are the components that k3s packages, and upgrade, without those that the configuration
// disables; for those, what an earlier start left in the cluster is removed.
func (n *node) addons() []sequence.Component {
	c := n.config.Cluster
	factory := sync.OnceValues(n.informers)
	list := []sequence.Component{n.manifests()}
	for _, a := range []struct {
		name      string // as "disable" has it
		component func(sharedInformers) sequence.Component
		remove    func(context.Context, kubernetes.Interface) error // beside the manifest's objects; nil: nothing
	}{
		{"coredns", n.dns, dns.Remove},
		{"metrics-server", n.metrics, nil},
		{"local-storage", n.storage, nil},
		{"servicelb", n.serviceLB, servicelb.Remove},
		{"helm-controller", n.helm, nil},
		{"upgrade", n.upgrade, upgrade.Remove},
	} {
		switch {
		case !c.Disabled(a.name):
			list = append(list, a.component(factory))
		case a.remove != nil:
			list = append(list, n.removal(a.name, a.remove))
		}
	}
	return list
}

// informers makes the factory that the addons share. What nobody reads is not kept.
func (n *node) informers() (informers.SharedInformerFactory, error) {
	client, err := n.client()
	if err != nil {
		return nil, err
	}
	return informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(func(object any) (any, error) {
		if m, err := meta.Accessor(object); err == nil {
			m.SetManagedFields(nil)
		}
		if node, ok := object.(*corev1.Node); ok {
			node.Status.Images = nil
		}
		return object, nil
	})), nil
}

// removal takes away what a component made that is disabled now. A failure is logged: it
// must not keep the node from starting.
func (n *node) removal(name string, remove func(context.Context, kubernetes.Interface) error) sequence.Component {
	return sequence.Component{
		Name:  "remove-" + name,
		After: []string{"apiserver"},
		Setup: func(ctx context.Context) error {
			client, err := n.client()
			if err == nil {
				err = remove(ctx, client)
			}
			if err != nil {
				n.log.Warn("disabled component not removed from the cluster; the next start tries again", "component", name, "err", err)
			}
			return nil
		},
	}
}

// manifests writes the packaged manifests into k3s's folder and applies what is in it.
func (n *node) manifests() sequence.Component {
	c, dir := n.config.Cluster, filepath.Join(n.layout.Server(), "manifests")
	return sequence.Component{
		Name:  "manifests",
		After: []string{"controller-manager"},
		Setup: func(context.Context) error {
			err := packaged.Stage(packaged.Options{
				Dir: dir, Files: overlays.Manifests(), Disabled: c.Disable,
				Values: map[string]string{
					"CLUSTER_DNS":                c.ClusterDNS.String(),
					"CLUSTER_DOMAIN":             c.ClusterDomain,
					"DEFAULT_LOCAL_STORAGE_PATH": c.LocalStoragePath,
					"SERVER_CA_BASE64":           base64.StdEncoding.EncodeToString([]byte(n.config.Secrets.ServerCA.Cert)),
				},
			})
			if err != nil {
				n.log.Error("packaged manifests not written", "dir", dir, "err", err)
			}
			return nil
		},
		Run: func(ctx context.Context) error {
			cfg, err := n.rest()
			if err != nil {
				return err
			}
			return manifest.Run(ctx, manifest.Options{
				Config: cfg, Dir: dir, NodeName: n.name, Disabled: c.Disable,
				HelmRuns: !c.Disabled("helm-controller"), Log: n.log,
			})
		},
	}
}

func (n *node) dns(sharedInformers) sequence.Component {
	c, l := n.config.Cluster, n.layout
	return sequence.Component{
		Name:  "dns",
		After: []string{"rights"},
		Run: func(ctx context.Context) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			return dns.New(dns.Options{
				NodeName: n.name, Dir: filepath.Join(l.Run, "coredns"), ResolvConf: n.resolvConf(),
				ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, Networks: []netip.Prefix{c.ClusterCIDR, c.ServiceCIDR},
				Kubeconfig: filepath.Join(l.Agent(), credentials.KubeconfigDNS), Client: client, Server: true,
				Addresses: n.watch.Subscribe(), Log: n.log,
			}).Run(ctx)
		},
	}
}

// metrics starts before the API server: see metrics.Run.
func (n *node) metrics(factory sharedInformers) sequence.Component {
	return sequence.Component{
		Name:  "metrics",
		After: []string{"credentials"},
		Run: func(ctx context.Context) error {
			cfg, err := n.rest()
			if err != nil {
				return err
			}
			shared, err := factory()
			if err != nil {
				return err
			}
			return metrics.Run(ctx, metrics.Options{Address: address.Stable, TLS: n.layout.ServerTLS(), Config: cfg, Factory: shared, Log: n.log})
		},
	}
}

func (n *node) storage(factory sharedInformers) sequence.Component {
	return n.shared("local-storage", factory, func(ctx context.Context, client kubernetes.Interface, shared informers.SharedInformerFactory) error {
		return storage.Run(ctx, storage.Options{
			NodeName: n.name, Path: n.config.Cluster.LocalStoragePath, Client: client, Factory: shared, Log: n.log,
		})
	})
}

func (n *node) serviceLB(factory sharedInformers) sequence.Component {
	return n.shared("servicelb", factory, func(ctx context.Context, client kubernetes.Interface, shared informers.SharedInformerFactory) error {
		return servicelb.Run(ctx, servicelb.Options{Client: client, Factory: shared, Reserved: n.reserved(), Log: n.log})
	})
}

// shared is a component that needs no more than a client and the shared informers.
func (n *node) shared(name string, factory sharedInformers, run func(context.Context, kubernetes.Interface, informers.SharedInformerFactory) error) sequence.Component {
	return sequence.Component{
		Name:  name,
		After: []string{"apiserver"},
		Run: func(ctx context.Context) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			shared, err := factory()
			if err != nil {
				return err
			}
			return run(ctx, client, shared)
		},
	}
}

// reserved are the ports on which the node itself is reached from outside.
func (n *node) reserved() map[servicelb.Port]string {
	ports := map[servicelb.Port]string{
		{Protocol: corev1.ProtocolTCP, Number: int32(n.config.Cluster.HTTPSListenPort)}: "the Kubernetes API",
		{Protocol: corev1.ProtocolTCP, Number: 10250}:                                   "the kubelet",
		{Protocol: corev1.ProtocolTCP, Number: dns.Port}:                                "cluster DNS",
		{Protocol: corev1.ProtocolUDP, Number: dns.Port}:                                "cluster DNS",
	}
	if n.config.Cluster.FlannelBackend == "vxlan" {
		ports[servicelb.Port{Protocol: corev1.ProtocolUDP, Number: 8472}] = "the overlay network"
	}
	return ports
}

func (n *node) helm(sharedInformers) sequence.Component {
	return sequence.Component{
		Name:  "helm",
		After: []string{"controller-manager"},
		Run: func(ctx context.Context) error {
			cfg, err := n.rest()
			if err != nil {
				return err
			}
			return helm.Run(ctx, helm.Options{Config: cfg, StaticDir: filepath.Join(n.layout.Server(), "static"), Packaged: overlays.Charts(), Log: n.log})
		},
	}
}

func (n *node) upgrade(sharedInformers) sequence.Component {
	return sequence.Component{
		Name:  "upgrade",
		After: []string{"apiserver"},
		Run: func(ctx context.Context) error {
			cfg, err := n.rest()
			if err != nil {
				return err
			}
			return upgrade.Run(ctx, upgrade.Options{Config: cfg, NodeName: n.name, MachineCA: n.config.Secrets.MachineCA, Log: n.log})
		},
	}
}
