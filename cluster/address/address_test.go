package address

import (
	"net/netip"
	"testing"
)

func ips(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestChooseTable(t *testing.T) {
	eth0 := link{name: "eth0", index: 2, up: true, carrier: true, addrs: ips("10.0.0.5", "fe80::1", "2001:db8::5")}
	eth1 := link{name: "eth1", index: 3, up: true, carrier: true, addrs: ips("192.168.1.7", "192.168.1.8")}
	own := link{name: LinkName, index: 9, up: true, carrier: true, addrs: ips("192.0.0.8")}
	lo := link{name: "lo", index: 1, up: true, carrier: true, addrs: ips("127.0.0.1", "::1")}
	cni := link{name: "cni0", index: 4, up: true, carrier: true, addrs: ips("10.42.0.1")}
	vxlan := link{name: "flannel.1", index: 5, up: true, carrier: true, addrs: ips("10.42.0.0")}
	down := eth0
	down.up = false
	pulled := eth0
	pulled.carrier = false
	for _, tc := range []struct {
		name   string
		links  []link
		routes []route
		iface  string
		want   string
		link   string
		all    int
	}{
		{"nothing", nil, nil, "", "192.0.0.8", LinkName, 1},
		{"only internal links", []link{lo, cni, vxlan, own}, nil, "", "192.0.0.8", LinkName, 1},
		{"cable but no address", []link{lo, own, {name: "eth0", index: 2, up: true, carrier: true, addrs: ips("fe80::1")}}, nil, "", "192.0.0.8", LinkName, 1},
		{"no default route: lowest index", []link{lo, eth1, eth0, own}, nil, "", "10.0.0.5", "eth0", 5},
		{"default route wins over index", []link{lo, eth0, eth1}, []route{{link: 3}}, "", "192.168.1.7", "eth1", 5},
		{"its source address", []link{eth1}, []route{{link: 3, source: netip.MustParseAddr("192.168.1.8")}}, "", "192.168.1.8", "eth1", 3},
		{"a source address that is not there", []link{eth1}, []route{{link: 3, source: netip.MustParseAddr("192.168.1.99")}}, "", "192.168.1.7", "eth1", 3},
		{"lower metric wins", []link{eth0, eth1}, []route{{link: 3, metric: 100}, {link: 2, metric: 50}}, "", "10.0.0.5", "eth0", 5},
		{"link down", []link{down, eth1}, []route{{link: 2}}, "", "192.168.1.7", "eth1", 3},
		{"the user's link", []link{eth0, eth1}, []route{{link: 2}}, "eth1", "192.168.1.7", "eth1", 5},
		{"the user's link has none", []link{eth0}, []route{{link: 2}}, "eth1", "10.0.0.5", "eth0", 3},
		{"cable out, another in", []link{pulled, eth1}, []route{{link: 2}}, "", "192.168.1.7", "eth1", 5},
		{"cable out, no other", []link{pulled}, []route{{link: 2}}, "", "10.0.0.5", "eth0", 3},
		{"cable of the user's link out", []link{pulled, eth1}, nil, "eth0", "10.0.0.5", "eth0", 5},
		{"IPv6 only", []link{{name: "eth0", index: 2, up: true, carrier: true, addrs: ips("2001:db8::5")}}, nil, "", "192.0.0.8", LinkName, 2},
	} {
		got := choose(tc.links, tc.routes, tc.iface, netip.Addr{})
		if got.Primary.String() != tc.want || got.Link != tc.link || len(got.All) != tc.all {
			t.Errorf("%s: choose() = %v on %s of %v, want %s on %s of %d", tc.name, got.Primary, got.Link, got.All, tc.want, tc.link, tc.all)
		}
	}
}

func TestHostsGivesEachNameOnce(t *testing.T) {
	got := hosts(Stable, []string{"pi", "", "localhost", "pi", "node"})
	want := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n192.0.0.8 node pi\n"
	if got != want {
		t.Errorf("hosts() = %q, want %q", got, want)
	}
}

func TestNodeIPIsTheOnlyPrimary(t *testing.T) {
	links := []link{
		{name: "eth0", index: 2, up: true, carrier: true, addrs: ips("10.0.0.5")},
		{name: "eth1", index: 3, up: true, addrs: ips("192.168.1.7", "192.168.1.8")},
		{name: "eth2", index: 4, addrs: ips("192.168.2.7")},
	}
	routes := []route{{link: 2}}
	for _, tc := range []struct{ nodeIP, want, link string }{
		{"192.168.1.8", "192.168.1.8", "eth1"}, // its cable is out
		{"192.168.2.7", Stable.String(), LinkName},
		{"172.16.0.1", Stable.String(), LinkName},
	} {
		got := choose(links, routes, "eth0", netip.MustParseAddr(tc.nodeIP))
		if got.Primary.String() != tc.want || got.Link != tc.link || len(got.All) != 4 {
			t.Errorf("choose() for node-ip %s = %v on %s of %v, want %s on %s of 4", tc.nodeIP, got.Primary, got.Link, got.All, tc.want, tc.link)
		}
	}
}
