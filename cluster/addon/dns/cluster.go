package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// cluster answers for the names of Services and pods. It outlives reloads, so that these
// list nothing anew and never serve from empty caches.
//
// It keeps what DNS needs of all Services, EndpointSlices and Namespaces: CoreDNS's own
// types, about 1 kB for a Service with its slice. Pods are not watched: the name of a pod is
// its address ("pods insecure").
type cluster struct {
	kube   *kubernetes.Kubernetes
	domain string     // with a dot at its end
	server netip.Addr // the Service's address

	start, stop func() error
}

// newCluster reads kubeconfig; it asks nothing yet. domain is the cluster's, server the
// address of the Service kube-dns.
func newCluster(kubeconfig, domain string, server netip.Addr) (*cluster, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of the cluster's DNS: %w", err)
	}
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.UserAgent = "coredns"
	// The only exported way to a Kubernetes with "pods insecure" is the parser, which wants a
	// controller.
	c := caddy.NewTestController("", fmt.Sprintf("%s %s in-addr.arpa ip6.arpa {\npods insecure\nfallthrough in-addr.arpa ip6.arpa\n}", kubernetesDirective, domain))
	c.Next()
	k, err := kubernetes.ParseStanza(c)
	if err != nil {
		return nil, fmt.Errorf("names of the cluster %s: %w", domain, err)
	}
	k.ClientConfig = clientConfig{cfg}
	out := &cluster{kube: k, domain: dns.CanonicalName(domain), server: server}
	if out.start, out.stop, err = k.InitKubeCache(context.Background()); err != nil {
		return nil, fmt.Errorf("names of the cluster %s: %w", domain, err)
	}
	return out, nil
}

// handler is the plugin for one server block.
func (c *cluster) handler(next plugin.Handler) plugin.Handler {
	k := *c.kube
	k.Next = next
	return clusterHandler{Kubernetes: &k, cluster: c}
}

// clusterHandler is Kubernetes with an answer to who serves the zone. Upstream finds that
// by its own addresses among all endpoints; on a node's network those are also other Services'.
type clusterHandler struct {
	*kubernetes.Kubernetes
	cluster *cluster
}

var _ plugin.Handler = clusterHandler{}

// ttl is what CoreDNS gives to names of the cluster, in seconds.
const ttl = 5

// ServeDNS answers for the cluster's zones, and passes on all else.
func (h clusterHandler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	c := h.cluster
	service, legacy := ServiceName+"."+Namespace+".svc."+c.domain, "ns.dns."+c.domain // the latter is in the zone's SOA
	address := func(name string) dns.RR {
		return &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: c.server.AsSlice()}
	}
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	switch {
	case state.QClass() != dns.ClassINET || !c.server.Is4():
		return h.Kubernetes.ServeDNS(ctx, w, r)
	case state.QType() == dns.TypeNS && state.Name() == c.domain:
		m.Answer = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: c.domain, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: ttl}, Ns: service}}
		m.Extra = []dns.RR{address(service)}
	case state.QType() == dns.TypeA && state.Name() == legacy:
		m.Answer = []dns.RR{address(legacy)}
	default:
		return h.Kubernetes.ServeDNS(ctx, w, r)
	}
	return dns.RcodeSuccess, w.WriteMsg(m)
}

// clientConfig gives CoreDNS a ready client configuration. From a kubeconfig it would make
// one that speaks JSON.
type clientConfig struct{ cfg *rest.Config }

func (c clientConfig) RawConfig() (clientcmdapi.Config, error) {
	return clientcmdapi.Config{}, errors.ErrUnsupported
}
func (c clientConfig) ClientConfig() (*rest.Config, error)  { return rest.CopyConfig(c.cfg), nil }
func (c clientConfig) Namespace() (string, bool, error)     { return "default", false, nil }
func (c clientConfig) ConfigAccess() clientcmd.ConfigAccess { return nil }
