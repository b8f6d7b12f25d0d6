package config

import "net/netip"

// Role says what a node runs.
type Role string

// The roles. A server runs the control plane, the datastore and pods; an agent runs pods only.
const (
	RoleServer Role = "server"
	RoleAgent  Role = "agent"
)

// Config is one node's configuration, validated and with every default filled in.
// It is read-only after Load.
type Config struct {
	Role     Role
	Hostname string // RFC 1123 label; empty: PID 1 derives "keelson-XXXXXX" from the machine id
	Network  Network
	Clock    Clock
	Cluster  Cluster
	// Registries is nil when the file does not say anything about them; then the node
	// looks for k3s's registries.yaml.
	Registries *Registries
	Secrets    *Secrets // nil on an agent
}

// Clock says where the time comes from.
type Clock struct {
	Servers []string // NTP servers, host or host:port; default pool.ntp.org. Empty list given: NTP off
}

// Network says how links are set up. No interface given: DHCP on every Ethernet link.
type Network struct {
	Interfaces  []Interface
	Nameservers []netip.Addr // used before those of DHCP
	Search      []string     // search domains
}

// Interface configures one link, found by Match, or made (VLAN, bond) and then named Name.
type Interface struct {
	Name        string // VLAN and bond only: the name of the link to make, at most 15 bytes
	Match       Match  // physical links only
	DHCP        bool   // DHCPv4
	SLAAC       bool   // accept IPv6 router advertisements; default true
	Addresses   []netip.Prefix
	Gateways    []netip.Addr // at most one per address family
	Nameservers []netip.Addr
	Routes      []Route
	MTU         int // bytes; 0: the driver's
	VLAN        *VLAN
	Bond        *Bond
}

// Match selects physical links; all given fields must match. Name may use * and ?.
type Match struct {
	Name   string
	MAC    string // lower case, colons
	Driver string // kernel driver, e.g. "e1000e"
}

// Route is a static route.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr
	Metric int
}

// VLAN makes an IEEE 802.1Q link on top of another one.
type VLAN struct {
	ID     int    // 1 to 4094
	Parent string // name of the link below
}

// Bond makes a link out of several.
type Bond struct {
	Members []string // link names, at least one
	Mode    string   // active-backup (default), 802.3ad, balance-rr, balance-xor, broadcast, balance-tlb, balance-alb
	Primary string
	MIIMon  int // link check interval in milliseconds; default 100
}

// Cluster holds the supported k3s config.yaml keys with k3s's defaults filled in.
// Keys of k3s that this version does not support are refused by name when the file is read.
type Cluster struct {
	Server            string // agents: URL of a server, https://host:6443
	Token             string
	NodeName          string // default: the hostname
	NodeLabels        []string
	NodeTaints        []string
	TLSSANs           []string
	ClusterCIDR       netip.Prefix // 10.42.0.0/16
	ServiceCIDR       netip.Prefix // 10.43.0.0/16
	ClusterDNS        netip.Addr   // 10.43.0.10
	ClusterDomain     string       // cluster.local
	HTTPSListenPort   int          // 6443
	NodeIP            netip.Addr   // IPv4; zero: the node chooses
	BindAddress       netip.Addr   // IPv4, of the API beside 127.0.0.1; zero: every address
	AdvertiseAddress  netip.Addr   // IPv4, at which pods reach the API; zero: the node's address
	AdvertisePort     int          // its port; 0: HTTPSListenPort
	NodePorts         PortRange    // service-node-port-range; 30000-32767
	LocalStoragePath  string       // default-local-storage-path; DefaultLocalStorage
	ResolvConf        string       // resolv-conf: a file on the node; empty: the system's
	FlannelIface      string
	FlannelBackend    string   // vxlan (default), host-gw, none
	KubeconfigMode    uint32   // write-kubeconfig-mode; default 0600
	NoDefaultEndpoint bool     // disable-default-registry-endpoint: mirrored registries are not asked themselves
	Disable           []string // packaged components left out, sorted, each once; see Disabled
	KubeletArgs       []string
	APIServerArgs     []string
	ControllerMgrArgs []string
	SchedulerArgs     []string
	ProxyArgs         []string
}

// Secrets is what must never leave the cluster's owner: the CAs with their keys and
// the join tokens. PEM texts; keys are PKCS#8 or SEC 1.
type Secrets struct {
	ServerCA          KeyPair // signs the API server's and kubelets' serving certificates
	ClientCA          KeyPair // signs client certificates: admins, nodes, components
	RequestHeaderCA   KeyPair // signs the aggregation layer's front proxy
	MachineCA         KeyPair // signs machine API certificates
	ServiceAccountKey string  // signs service account tokens
	ServerToken       string  // password part of the server token
	AgentToken        string  // password part of the agent token
}

// KeyPair is a certificate and its private key, both PEM.
type KeyPair struct {
	Cert string
	Key  string
}
