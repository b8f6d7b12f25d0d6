package cluster

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/apiserver"
	"github.com/keelson-os/keelson/cluster/cni"
	"github.com/keelson-os/keelson/cluster/containerd"
	"github.com/keelson-os/keelson/cluster/controllermanager"
	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/datastore"
	"github.com/keelson-os/keelson/cluster/endpoints"
	"github.com/keelson-os/keelson/cluster/flannel"
	"github.com/keelson-os/keelson/cluster/images"
	"github.com/keelson-os/keelson/cluster/kubelet"
	"github.com/keelson-os/keelson/cluster/proxy"
	"github.com/keelson-os/keelson/cluster/rbac"
	"github.com/keelson-os/keelson/cluster/registries"
	"github.com/keelson-os/keelson/cluster/scheduler"
	"github.com/keelson-os/keelson/cluster/sequence"
	"github.com/keelson-os/keelson/config"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// components is the whole node, in the order of its start.
func (n *node) components() []sequence.Component {
	c, l := n.config.Cluster, n.layout
	ca := filepath.Join(l.ServerTLS(), credentials.ServerCA+".crt")
	plugins := filepath.Join(l.Kubelet, "volumeplugins")

	registry := registries.New(registries.Options{
		Dir: l.RegistryConfig(), Section: n.config.Registries, File: filepath.Join(l.Etc, "registries.yaml"),
		NoDefaultEndpoint: c.NoDefaultEndpoint, Log: n.log,
	})
	runtime := containerd.New(containerd.Options{
		Root: l.ContainerdRoot(), State: l.ContainerdState(), Socket: l.ContainerdSocket(),
		RegistryConfig: l.RegistryConfig(), RegistryAuths: registry.Auths, CNIBin: l.CNIBin, CNIConf: l.CNIConf(),
	})

	list := []sequence.Component{
		{
			Name:  "address",
			Setup: n.watch.Setup,
			Run:   n.watch.Run,
		}, {
			Name:  "credentials",
			After: []string{"address"},
			Setup: func(context.Context) error { return n.store.Ensure(n.watch.Current().All, time.Now()) },
			Run:   n.renew,
		}, {
			Name: "datastore",
			Run: func(ctx context.Context) error {
				return datastore.Run(ctx, datastore.Options{Dir: l.ServerDB(), Socket: l.DatastoreSocket()})
			},
			Ready: exists(l.DatastoreSocket()),
		}, {
			Name:  "registries",
			Setup: registry.Setup,
			Run:   registry.Run,
		}, {
			Name:  "containerd",
			After: []string{"registries"},
			Run:   runtime.Run,
			Ready: runtime.Ready,
		}, {
			Name:  "images",
			After: []string{"containerd"},
			Setup: func(ctx context.Context) error {
				o := images.Options{
					Socket: l.ContainerdSocket(), Root: l.ContainerdRoot(),
					System: l.Images, User: l.AgentImages(), Log: n.log, Status: n.status,
				}
				if c.Disabled("traefik") {
					o.Except = []string{config.TraefikImage}
				}
				return images.Import(ctx, o)
			},
		}, {
			Name:  "apiserver",
			After: []string{"credentials", "datastore"},
			Run: func(ctx context.Context) error {
				return apiserver.Run(ctx, apiserver.Options{
					TLS: l.ServerTLS(), AuthenticationFile: n.store.AuthenticationFile(), DatastoreSocket: l.DatastoreSocket(),
					Port: c.HTTPSListenPort, BindAddress: c.BindAddress, NodePorts: c.NodePorts.String(), ServiceCIDR: c.ServiceCIDR, ClusterDomain: c.ClusterDomain,
					AdvertiseAddress: address.Stable, UserFlags: c.APIServerArgs,
				})
			},
			Ready: answers(fmt.Sprintf("https://127.0.0.1:%d/readyz", c.HTTPSListenPort), ca, ""),
		}, {
			Name:  "rights",
			After: []string{"apiserver"},
			Setup: func(ctx context.Context) error {
				client, err := n.client()
				if err != nil {
					return err
				}
				return rbac.Apply(ctx, client)
			},
		}, {
			Name:  "controller-manager",
			After: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return controllermanager.Run(ctx, controllermanager.Options{
					TLS: l.ServerTLS(), Kubeconfig: filepath.Join(l.ServerCred(), credentials.KubeconfigControl),
					ClusterCIDR: c.ClusterCIDR, ServiceCIDR: c.ServiceCIDR,
					VolumePluginDir: plugins, UserFlags: c.ControllerMgrArgs,
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
		n.endpoints(),
		{
			Name: "kubelet",
			// After the controller manager: see controllermanager.ReadyURL.
			After: []string{"images", "controller-manager"},
			Setup: n.remember,
			Run: func(ctx context.Context) error {
				return kubelet.Run(ctx, kubelet.Options{
					NodeName: n.name, Agent: l.Agent(), Root: l.Kubelet, PodLogs: filepath.Join(l.Logs, "pods"),
					ContainerdSocket: l.ContainerdSocket(), ResolvConf: n.resolvConf(),
					ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
					Labels: c.NodeLabels, Taints: c.NodeTaints, VolumePluginDir: plugins, UserFlags: c.KubeletArgs,
				})
			},
			Ready: healthy(kubelet.ReadyURL),
		}, {
			Name:  "proxy",
			After: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return proxy.Run(ctx, proxy.Options{
					NodeName: n.name, Agent: l.Agent(), RunDir: l.Run, ClusterCIDR: c.ClusterCIDR,
					Address: address.Stable, UserFlags: c.ProxyArgs,
				})
			},
			Ready: healthy(proxy.ReadyURL),
		},
	}
	list = append(list, n.health())
	list = append(list, n.addons()...)
	if c.FlannelBackend == "none" {
		list = append(list, sequence.Component{
			Name: "network",
			// The user brings a CNI configuration: ours of an earlier start must not win.
			Setup: func(context.Context) error { return cni.Remove(l.CNIConf()) },
		})
	} else {
		list = append(list, n.network())
	}
	return append(list, sequence.Component{
		Name:  "node",
		After: []string{"kubelet"},
		Setup: n.label,
		Ready: n.registered,
	})
}

// endpoints follows the node's address.
func (n *node) endpoints() sequence.Component {
	ready := make(chan struct{})
	c := n.config.Cluster
	return sequence.Component{
		Name:  "endpoints",
		After: []string{"apiserver"},
		Run: func(ctx context.Context) error {
			client, err := n.client()
			if err != nil {
				return err
			}
			first := true
			return endpoints.Keep(ctx, client, cmp.Or(c.AdvertiseAddress, c.BindAddress), cmp.Or(c.AdvertisePort, c.HTTPSListenPort), n.watch.Subscribe(), n.log, func() {
				if first {
					close(ready)
				}
				first = false
			})
		},
		Ready: func(ctx context.Context) error {
			select {
			case <-ready:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
	}
}

// network is flannel.
func (n *node) network() sequence.Component {
	network := flannel.New(flannel.Options{
		NodeName: n.name, Kubeconfig: filepath.Join(n.layout.Agent(), credentials.KubeconfigFlannel),
		RunDir: n.layout.Run, CNIConf: n.layout.CNIConf(), ClusterCIDR: n.config.Cluster.ClusterCIDR,
		Backend: n.config.Cluster.FlannelBackend, Addresses: n.watch.Subscribe(), Log: n.log,
	})
	return sequence.Component{
		Name:  "network",
		After: []string{"rights", "containerd"},
		Run:   network.Run,
		Ready: network.Ready,
	}
}

// resolvConf is the file with the resolvers of the node, which pods and cluster DNS use too.
func (n *node) resolvConf() string { return cmp.Or(n.config.Cluster.ResolvConf, n.layout.Resolv) }

// client has all rights. It is for the node's own controllers.
func (n *node) client() (kubernetes.Interface, error) {
	cfg, err := n.rest()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

func (n *node) rest() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", filepath.Join(n.layout.ServerCred(), credentials.KubeconfigSuper))
}

func (n *node) status(text string) {
	if err := n.notify.Status(text); err != nil {
		n.log.Warn("status not reported", "err", err)
	}
}
