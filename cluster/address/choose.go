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
	name  string
	index int
	up    bool
	addrs []netip.Addr
}

// route is an IPv4 default route.
type route struct {
	link   int // index
	metric int // the lower, the better
	source netip.Addr
}

// choose picks the node's addresses. The primary one is, in this order:
//  1. on the link that the user named,
//  2. the source address or else the first address of the best default route's link,
//  3. the first address of any link that is up, by index,
//  4. Stable.
//
// IPv6 addresses are reachable but never primary: pods have IPv4 addresses only.
func choose(links []link, routes []route, iface string) Addresses {
	links = slices.Clone(links)
	slices.SortFunc(links, func(a, b link) int { return cmp.Compare(a.index, b.index) })
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b route) int { return cmp.Compare(a.metric, b.metric) })

	out := Addresses{Primary: Stable, Link: LinkName, All: []netip.Addr{Stable}}
	byIndex := make(map[int]link)
	var candidates []link // in order of preference
	for _, l := range links {
		if !l.up || internal(l.name) {
			continue
		}
		l.addrs = slices.DeleteFunc(slices.Clone(l.addrs), func(a netip.Addr) bool { return !usable(a) })
		byIndex[l.index] = l
		candidates = append(candidates, l)
		out.All = append(out.All, l.addrs...)
	}
	slices.SortFunc(out.All, netip.Addr.Compare)
	out.All = slices.Compact(out.All)

	for _, l := range candidates {
		if iface != "" && l.name == iface {
			if a, ok := firstIPv4(l); ok {
				out.Primary, out.Link = a, l.name
				return out
			}
		}
	}
	for _, r := range routes {
		l, ok := byIndex[r.link]
		if !ok {
			continue
		}
		if r.source.Is4() && slices.Contains(l.addrs, r.source) {
			out.Primary, out.Link = r.source, l.name
			return out
		}
		if a, ok := firstIPv4(l); ok {
			out.Primary, out.Link = a, l.name
			return out
		}
	}
	for _, l := range candidates {
		if a, ok := firstIPv4(l); ok {
			out.Primary, out.Link = a, l.name
			return out
		}
	}
	return out
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
