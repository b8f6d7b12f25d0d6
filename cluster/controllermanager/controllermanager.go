// Package controllermanager runs upstream's kube-controller-manager without its command.
package controllermanager

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// Options are what the controller manager needs to know of the node.
type Options struct {
	TLS             string // folder of the control plane's certificates
	Kubeconfig      string
	ClusterCIDR     netip.Prefix
	ServiceCIDR     netip.Prefix
	VolumePluginDir string
	UserFlags       []string // kube-controller-manager-arg
}

// port is upstream's; it is open on the loopback address only.
const port = "10257"

// ReadyURL answers with ReadyText once every controller has been built. The kubelet must
// not be created before: both keep the CSI plugin's node information in one global
// variable (nim in pkg/volume/csi), set when volume plugins are initialised, and the
// kubelet's must be the last. Upstream adds the controllers' health checks after all of
// them are built, so that the presence of this check tells.
const (
	ReadyURL  = "https://127.0.0.1:" + port + "/healthz?verbose"
	ReadyText = "[+]" + names.PersistentVolumeAttachDetachController + " ok"
)

func (o Options) flags() flags.List {
	tls := func(name string) string { return filepath.Join(o.TLS, name) }
	return flags.List{
		"kubeconfig=" + o.Kubeconfig,
		"authentication-kubeconfig=" + o.Kubeconfig,
		"authorization-kubeconfig=" + o.Kubeconfig,
		"authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
		"bind-address=127.0.0.1",
		"secure-port=" + port,
		"tls-cert-file=" + tls(credentials.ServingController+".crt"),
		"tls-private-key-file=" + tls(credentials.ServingController+".key"),
		"client-ca-file=" + tls(credentials.ClientCA+".crt"),
		"requestheader-client-ca-file=" + tls(credentials.RequestHeaderCA+".crt"),

		"service-account-private-key-file=" + tls(credentials.ServiceAccountKey),
		"use-service-account-credentials=true",
		"root-ca-file=" + tls(credentials.ServerCA+".crt"),
		"cluster-signing-kube-apiserver-client-cert-file=" + tls(credentials.ClientCA+".crt"),
		"cluster-signing-kube-apiserver-client-key-file=" + tls(credentials.ClientCA+".key"),
		"cluster-signing-kubelet-client-cert-file=" + tls(credentials.ClientCA+".crt"),
		"cluster-signing-kubelet-client-key-file=" + tls(credentials.ClientCA+".key"),
		"cluster-signing-kubelet-serving-cert-file=" + tls(credentials.ServerCA+".crt"),
		"cluster-signing-kubelet-serving-key-file=" + tls(credentials.ServerCA+".key"),
		"cluster-signing-legacy-unknown-cert-file=" + tls(credentials.ServerCA+".crt"),
		"cluster-signing-legacy-unknown-key-file=" + tls(credentials.ServerCA+".key"),

		"allocate-node-cidrs=true",
		"cluster-cidr=" + o.ClusterCIDR.String(),
		"service-cluster-ip-range=" + o.ServiceCIDR.String(),
		"configure-cloud-routes=false",
		"flex-volume-plugin-dir=" + o.VolumePluginDir,
		"profiling=false",

		// One server: an election has one candidate. Off saves a lease written every 2 s.
		"leader-elect=false",
		// Some 40 controllers each fetch credentials of their own before the first one starts,
		// three requests each. Upstream's 20 a second makes that 5 s of waiting.
		"kube-api-qps=200",
		"kube-api-burst=400",
		// Nodes renew their leases every 40 s (package kubelet); one may be lost.
		"node-monitor-grace-period=100s",
	}
}

// Run runs the controllers until ctx ends or they fail.
func Run(ctx context.Context, o Options) error {
	s, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()
	fs := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	named := s.Flags(known, off, aliases)
	for _, set := range named.FlagSets {
		fs.AddFlagSet(set)
	}
	s.ParsedFlags = &named
	if err := fs.Parse(o.flags().Add(o.UserFlags).Args()); err != nil {
		return fmt.Errorf("kube-controller-manager-arg: %w", err)
	}
	c, err := s.Config(ctx, known, off, aliases)
	if err != nil {
		return fmt.Errorf("kube-controller-manager-arg: %w", err)
	}
	return app.Run(ctx, c.Complete())
}
