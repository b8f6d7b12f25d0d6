package address

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Stable is the address of LinkName, which every node always has: RFC 7600's IPv4 dummy
// address. It is never seen outside the node.
var Stable = netip.MustParseAddr("192.0.0.8")

// LinkName is the dummy link that carries Stable.
const LinkName = "keelson0"

// Addresses are a node's addresses at one moment. They are comparable with Equal.
type Addresses struct {
	// Primary is the node's InternalIP: an IPv4 address; Stable while there is no other.
	Primary netip.Addr
	// Link is the name of the link that has Primary.
	Link string
	// All are the addresses under which the node may be reached, Primary and Stable
	// among them, sorted.
	All []netip.Addr
}

// Equal says whether nothing changed.
func (a Addresses) Equal(b Addresses) bool {
	return a.Primary == b.Primary && a.Link == b.Link && slices.Equal(a.All, b.All)
}

// link is what choose needs to know of a network link.
type link struct {
	name    string
	index   int
	up      bool // set up by PID 1
	carrier bool // and a cable is in
	addrs   []netip.Addr
}

// route is an IPv4 default route.
type route struct {
	link   int // index
	metric int // the lower, the better
	source netip.Addr
}

// choose picks the node's addresses. The primary one is, in this order:
//  1. the address that the user wants (node-ip); Stable while no link has it, never another:
//     of two networks the user chose one,
//  2. on the link that the user named,
//  3. the source address or else the first address of the best default route's link,
//  4. the first address of any link that is up, by index,
//  5. Stable.
//
// In 3 and 4 a link whose cable is out counts only if there is no other: it keeps its address
// and its routes for the cable's return, but on another network the node is reached
// elsewhere. IPv6 addresses are reachable but never primary: pods have IPv4 addresses only.
func choose(links []link, routes []route, iface string, nodeIP netip.Addr) Addresses {
	links = slices.Clone(links)
	slices.SortFunc(links, func(a, b link) int { return cmp.Compare(a.index, b.index) })
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b route) int { return cmp.Compare(a.metric, b.metric) })

	out := Addresses{Primary: Stable, Link: LinkName, All: []netip.Addr{Stable}}
	var up, connected []link // in order of preference
	for _, l := range links {
		if !l.up || internal(l.name) {
			continue
		}
		l.addrs = slices.DeleteFunc(slices.Clone(l.addrs), func(a netip.Addr) bool { return !usable(a) })
		up = append(up, l)
		if l.carrier {
			connected = append(connected, l)
		}
		out.All = append(out.All, l.addrs...)
	}
	slices.SortFunc(out.All, netip.Addr.Compare)
	out.All = slices.Compact(out.All)

	if nodeIP.IsValid() {
		if i := slices.IndexFunc(up, func(l link) bool { return slices.Contains(l.addrs, nodeIP) }); i >= 0 {
			out.Primary, out.Link = nodeIP, up[i].name
		}
		return out
	}
	named := slices.DeleteFunc(slices.Clone(up), func(l link) bool { return iface == "" || l.name != iface })
	for _, candidates := range [][]link{named, connected, up} {
		if a, name, ok := primary(candidates, routes); ok {
			out.Primary, out.Link = a, name
			break
		}
	}
	return out
}

// primary picks an address among links, which are in order of preference, and says whose it is.
func primary(links []link, routes []route) (netip.Addr, string, bool) {
	for _, r := range routes {
		i := slices.IndexFunc(links, func(l link) bool { return l.index == r.link })
		if i < 0 {
			continue
		}
		if r.source.Is4() && slices.Contains(links[i].addrs, r.source) {
			return r.source, links[i].name, true
		}
		if a, ok := firstIPv4(links[i]); ok {
			return a, links[i].name, true
		}
	}
	for _, l := range links {
		if a, ok := firstIPv4(l); ok {
			return a, l.name, true
		}
	}
	return netip.Addr{}, "", false
}

func firstIPv4(l link) (netip.Addr, bool) {
	for _, a := range l.addrs {
		if a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// internal is true for links that lead to pods or nowhere.
func internal(name string) bool {
	if name == "lo" || name == LinkName || name == "cni0" {
		return true
	}
	for _, p := range []string{"veth", "flannel", "kube-", "nodelocaldns"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func usable(a netip.Addr) bool { return a.IsGlobalUnicast() && a != Stable }
