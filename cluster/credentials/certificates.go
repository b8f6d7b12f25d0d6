package credentials

import (
	"net/netip"
	"slices"

	"github.com/keelson-os/keelson/cluster/pki"
)

// Users and groups that Kubernetes' own RBAC policy, or ours, knows.
const (
	groupMasters      = "system:masters"
	groupNodes        = "system:nodes"
	userNodePrefix    = "system:node:"
	userController    = "system:kube-controller-manager"
	userScheduler     = "system:kube-scheduler"
	userProxy         = "system:kube-proxy"
	userAuthProxy     = "system:auth-proxy"
	userAdmin         = "system:admin"
	userSupervisor    = "system:k3s-supervisor"
	userAPIServer     = "kube-apiserver"
	nameControllerTLS = "kube-controller-manager"
	nameSchedulerTLS  = "kube-scheduler"
)

// UserFlannel is the user of the node's network part; ClusterRole of the same name.
const UserFlannel = "system:k3s-controller"

// UserDNS is the user of the node's cluster DNS; ClusterRole of the same name.
const UserDNS = "system:coredns"

// AuthProxyName is the only client name that the API server's aggregation layer may use.
const AuthProxyName = userAuthProxy

// File names without suffix, as others refer to them.
const (
	ServingAPIServer        = "serving-kube-apiserver"
	ClientAPIServer         = "client-kube-apiserver"
	ClientAuthProxy         = "client-auth-proxy"
	ClientAdmin             = "client-admin"
	ClientSupervisor        = "client-supervisor"
	ClientController        = "client-controller"
	ClientScheduler         = "client-scheduler"
	ServingController       = nameControllerTLS + "/" + nameControllerTLS
	ServingScheduler        = nameSchedulerTLS + "/" + nameSchedulerTLS
	ServingMetrics          = "serving-metrics-server"
	ServingKubelet          = "serving-kubelet"
	ClientKubelet           = "client-kubelet"
	ClientProxy             = "client-kube-proxy"
	ClientFlannel           = "client-k3s-controller"
	ClientDNS               = "client-coredns"
	ServerCA                = "server-ca"
	ClientCA                = "client-ca"
	RequestHeaderCA         = "request-header-ca"
	ServiceAccountKey       = "service.key"
	ServiceAccountPublicKey = "service.pub"
	KubeconfigAdmin         = "admin.kubeconfig"
	KubeconfigControl       = "controller.kubeconfig"
	KubeconfigSched         = "scheduler.kubeconfig"
	KubeconfigSuper         = "supervisor.kubeconfig"
	KubeconfigKubelet       = "kubelet.kubeconfig"
	KubeconfigProxy         = "kubeproxy.kubeconfig"
	KubeconfigFlannel       = "k3scontroller.kubeconfig"
	KubeconfigDNS           = "coredns.kubeconfig"
	authenticationFile      = "authentication.yaml"
)

// certificate is one row of the table of everything that is issued.
type certificate struct {
	dir, name string
	ca        *pki.CA
	request   pki.Request
}

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}

// certificates lists all certificates of a server whose node has the given addresses.
func (s *Store) certificates(addresses []netip.Addr) []certificate {
	tls, agent := s.layout.ServerTLS(), s.layout.Agent()
	client := func(dir, name, user string, groups ...string) certificate {
		return certificate{dir, name, s.clientCA, pki.Request{CommonName: user, Organizations: groups, Client: true}}
	}
	local := func(name, user string) certificate {
		return certificate{tls, name, s.serverCA, pki.Request{CommonName: user, Server: true, DNSNames: []string{"localhost"}, IPs: loopback}}
	}
	api := pki.Request{
		CommonName: "kube-apiserver", Server: true,
		DNSNames: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.cluster.ClusterDomain, "localhost", s.nodeName},
		IPs:      append(slices.Clone(loopback), s.serviceIP()),
	}
	api.IPs = append(api.IPs, addresses...)
	for _, san := range s.cluster.TLSSANs {
		if ip, err := netip.ParseAddr(san); err == nil {
			api.IPs = append(api.IPs, ip)
		} else {
			api.DNSNames = append(api.DNSNames, san)
		}
	}
	// Where the user says the API is. The node may not have the address yet.
	for _, a := range []netip.Addr{s.cluster.NodeIP, s.cluster.BindAddress, s.cluster.AdvertiseAddress} {
		if a.IsValid() && !slices.Contains(api.IPs, a) {
			api.IPs = append(api.IPs, a)
		}
	}
	kubelet := pki.Request{
		CommonName: userNodePrefix + s.nodeName, Organizations: []string{groupNodes}, Server: true,
		DNSNames: []string{s.nodeName, "localhost"},
		IPs:      append(slices.Clone(loopback), addresses...),
	}
	return []certificate{
		{tls, ServingAPIServer, s.serverCA, api},
		client(tls, ClientAPIServer, userAPIServer, groupMasters),
		{tls, ClientAuthProxy, s.requestHeaderCA, pki.Request{CommonName: userAuthProxy, Client: true}},
		client(tls, ClientAdmin, userAdmin, groupMasters),
		client(tls, ClientSupervisor, userSupervisor, groupMasters),
		client(tls, ClientController, userController),
		client(tls, ClientScheduler, userScheduler),
		local(ServingController, nameControllerTLS),
		local(ServingScheduler, nameSchedulerTLS),
		// The name under which the API server's aggregation layer asks for the Service.
		{tls, ServingMetrics, s.serverCA, pki.Request{CommonName: "metrics-server", Server: true, DNSNames: []string{"metrics-server.kube-system.svc"}}},
		{agent, ServingKubelet, s.serverCA, kubelet},
		client(agent, ClientKubelet, userNodePrefix+s.nodeName, groupNodes),
		client(agent, ClientProxy, userProxy),
		client(agent, ClientFlannel, UserFlannel),
		client(agent, ClientDNS, UserDNS),
	}
}

// serviceIP is the ClusterIP of the service "kubernetes": the first address of the range.
func (s *Store) serviceIP() netip.Addr { return s.cluster.ServiceCIDR.Masked().Addr().Next() }
