// Package apiserver runs upstream's kube-apiserver without its command, which would
// install signal handlers and exit the process by itself.
package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// Options are what the API server needs to know of the node.
type Options struct {
	TLS                string // folder of the control plane's certificates
	AuthenticationFile string
	DatastoreSocket    string
	Port               int
	BindAddress        netip.Addr // served beside the loopback address; zero: every address is
	NodePorts          string     // range of ports, such as 30000-32767
	ServiceCIDR        netip.Prefix
	ClusterDomain      string
	AdvertiseAddress   netip.Addr // an address that the node always has
	UserFlags          []string   // kube-apiserver-arg
}

func (o Options) flags() flags.List {
	tls := func(name string) string { return filepath.Join(o.TLS, name) }
	issuer := "https://kubernetes.default.svc." + o.ClusterDomain
	return flags.List{
		"bind-address=0.0.0.0",
		"secure-port=" + strconv.Itoa(o.Port),
		"advertise-address=" + o.AdvertiseAddress.String(),
		"tls-cert-file=" + tls(credentials.ServingAPIServer+".crt"),
		"tls-private-key-file=" + tls(credentials.ServingAPIServer+".key"),

		"client-ca-file=" + tls(credentials.ClientCA+".crt"),
		"authentication-config=" + o.AuthenticationFile,
		"authorization-mode=Node,RBAC",
		"enable-admission-plugins=NodeRestriction",
		"allow-privileged=true",
		"service-account-issuer=" + issuer,
		"api-audiences=" + issuer,
		"service-account-key-file=" + tls(credentials.ServiceAccountPublicKey),
		"service-account-signing-key-file=" + tls(credentials.ServiceAccountKey),

		"kubelet-client-certificate=" + tls(credentials.ClientAPIServer+".crt"),
		"kubelet-client-key=" + tls(credentials.ClientAPIServer+".key"),
		"kubelet-certificate-authority=" + tls(credentials.ServerCA+".crt"),
		"kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		// The ClusterIP of an aggregated API cannot be reached from the host without a route,
		// which a node without a cable does not have; its endpoint can.
		"enable-aggregator-routing=true",
		"requestheader-client-ca-file=" + tls(credentials.RequestHeaderCA+".crt"),
		"requestheader-allowed-names=" + credentials.AuthProxyName,
		"requestheader-extra-headers-prefix=X-Remote-Extra-",
		"requestheader-group-headers=X-Remote-Group",
		"requestheader-username-headers=X-Remote-User",
		"proxy-client-cert-file=" + tls(credentials.ClientAuthProxy+".crt"),
		"proxy-client-key-file=" + tls(credentials.ClientAuthProxy+".key"),

		"service-cluster-ip-range=" + o.ServiceCIDR.String(),
		"service-node-port-range=" + o.NodePorts,

		"etcd-servers=unix://" + o.DatastoreSocket,
		"storage-backend=etcd3",
		// kine compacts by itself. Off saves a write every 5 min.
		"etcd-compaction-interval=0",
		// Counting every kind of object for a metric: off saves some 60 queries a minute.
		"etcd-count-metric-poll-period=0",
		// The database's size for a metric: off saves a query every 30 s.
		"etcd-db-metric-poll-interval=0",
		// Package endpoints keeps the kubernetes Service's endpoint. Off saves a lease
		// written every 10 s, and the endpoint can follow the node's address.
		"endpoint-reconciler-type=none",
		"profiling=false",
	}
}

// Run serves until ctx ends or the server fails.
func Run(ctx context.Context, o Options) error {
	s := options.NewServerRunOptions()
	fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	named := s.Flags()
	for _, set := range named.FlagSets {
		fs.AddFlagSet(set)
	}
	if err := fs.Parse(o.flags().Add(o.UserFlags).Args()); err != nil {
		return fmt.Errorf("kube-apiserver-arg: %w", err)
	}
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if o.BindAddress.IsValid() {
		l, err := listen(ctx, o.BindAddress, o.Port)
		if err != nil {
			return err
		}
		s.SecureServing.Listener = l // closed by the server
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return fmt.Errorf("kube-apiserver-arg: %w", utilerrors.NewAggregate(errs))
	}
	return app.Run(ctx, completed)
}
