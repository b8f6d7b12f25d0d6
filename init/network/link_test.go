package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"github.com/keelson-os/keelson/config"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// Of two links with a default route, the first is used; when its cable is pulled, the
// other, and back. Not parallel: it looks at the default route.
func TestTwoLinksDoNotFight(t *testing.T) {
	a, b := newLAN(t, "two0", "192.168.60.1/24"), newLAN(t, "two1", "192.168.61.1/24")
	a.serve("192.168.60.1", "192.168.60.20", time.Hour, dhcpv4.OptRouter(net.IPv4(192, 168, 60, 1)), dhcpv4.OptDNS(net.IPv4(192, 168, 60, 1)))
	b.serve("192.168.61.1", "192.168.61.20", time.Hour, dhcpv4.OptRouter(net.IPv4(192, 168, 61, 1)), dhcpv4.OptDNS(net.IPv4(192, 168, 61, 1)))
	n := startNode(t, config.Network{}, "two")
	eventually(t, 10*time.Second, "both addresses", func() bool {
		return hasAddr("two0", "192.168.60.20/24") && hasAddr("two1", "192.168.61.20/24")
	})
	via := func() string {
		r, err := netlink.RouteGet(net.IPv4(203, 0, 113, 1))
		if err != nil || len(r) == 0 {
			return "nowhere"
		}
		link, err := netlink.LinkByIndex(r[0].LinkIndex)
		if err != nil {
			return "nowhere"
		}
		return link.Attrs().Name + " " + r[0].Src.String()
	}
	first, second := "two0 192.168.60.20", "two1 192.168.61.20"
	eventually(t, time.Second, "the first is used", func() bool { return via() == first })
	if got := fileText(t, n.resolv); !strings.HasSuffix(got, "nameserver 192.168.60.1\nnameserver 192.168.61.1\n") {
		t.Errorf("resolv.conf = %q, want the first link's server first", got)
	}
	a.carrier(false)
	eventually(t, 2*time.Second, "the second is used", func() bool { return via() == second })
	a.carrier(true)
	eventually(t, 2*time.Second, "the first is used again", func() bool { return via() == first })
}

// Static settings: addresses of both families, gateways, routes, MTU, name servers.
func TestStaticSetsUpLink(t *testing.T) {
	newLAN(t, "static0", "192.168.62.1/24", "2001:db8::1/64")
	cfg := config.Network{
		Nameservers: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
		Search:      []string{"lab.example"},
		Interfaces: []config.Interface{{
			Match:       config.Match{Name: "stat?c*"},
			Addresses:   prefixes("192.168.62.10/24", "192.168.62.11/24", "2001:db8::10/64"),
			Gateways:    []netip.Addr{netip.MustParseAddr("192.168.62.1"), netip.MustParseAddr("2001:db8::1")},
			Nameservers: []netip.Addr{netip.MustParseAddr("192.168.62.1")},
			Routes: []config.Route{
				{To: netip.MustParsePrefix("10.1.0.0/16"), Via: netip.MustParseAddr("192.168.62.2")},
				{To: netip.MustParsePrefix("10.2.0.0/16"), Via: netip.MustParseAddr("192.168.62.3"), Metric: 7},
			},
			MTU: 1300,
		}},
	}
	n := startNode(t, cfg, "static")
	if got, want := n.wait(), "static0 192.168.62.10/24, 192.168.62.11/24, 2001:db8::10/64"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
	check := func() {
		t.Helper()
		for _, a := range cfg.Interfaces[0].Addresses {
			if !hasAddr("static0", a.String()) {
				t.Errorf("address %s is not there", a)
			}
		}
		link, err := netlink.LinkByName("static0")
		if err != nil {
			t.Fatal(err)
		}
		if link.Attrs().MTU != 1300 {
			t.Errorf("MTU = %d, want 1300", link.Attrs().MTU)
		}
		all := routesOf(t, "static0", netlink.FAMILY_ALL)
		for _, want := range []string{"0.0.0.0/0 192.168.62.1 0", "::/0 2001:db8::1 0", "10.1.0.0/16 192.168.62.2 0"} {
			if !slices.Contains(all, want) {
				t.Errorf("routes %q: no %q", all, want)
			}
		}
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, "10.2.0.0/16 192.168.62.3 ") }) {
			t.Errorf("routes %q: none to 10.2.0.0/16", all)
		}
	}
	check()
	if got, want := fileText(t, n.resolv), "nameserver 9.9.9.9\nnameserver 192.168.62.1\nsearch lab.example\n"; !strings.HasSuffix(got, want) {
		t.Errorf("resolv.conf = %q, want it to end in %q", got, want)
	}

	// A link that someone set down, and up again, has its routes again.
	link, err := netlink.LinkByName("static0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Second, "the default route is back", func() bool {
		return slices.Contains(routesOf(t, "static0", netlink.FAMILY_V4), "0.0.0.0/0 192.168.62.1 0") && hasAddr("static0", "2001:db8::10/64")
	})
}

// A link that is plugged in after the start is set up; one that is pulled and plugged in
// again, once more.
func TestHotplug(t *testing.T) {
	needNamespace(t)
	t.Parallel()
	n := startNode(t, config.Network{}, "plug")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begin := time.Now()
	if got, want := n.Wait(ctx), "no link to set up"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
	if d := time.Since(begin); d > carrierTime+time.Second {
		t.Errorf("Wait took %v with no link, want %v", d, carrierTime)
	}
	l := newLAN(t, "plug0", "192.168.63.1/24")
	l.serve("192.168.63.1", "192.168.63.20", time.Hour)
	eventually(t, 5*time.Second, "the address", func() bool { return hasAddr("plug0", "192.168.63.20/24") })
	link, err := netlink.LinkByName("plug0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Second, "the link is forgotten", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.ports) == 0
	})
	l.plug("192.168.63.1/24")
	eventually(t, 5*time.Second, "the address again", func() bool { return hasAddr("plug0", "192.168.63.20/24") })
}

// Without carrier there is nothing to wait for.
func TestWaitGivesUpWithoutCarrier(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "dark0")
	l.carrier(false)
	n := startNode(t, config.Network{}, "dark")
	if got, want := n.wait(), "no carrier on dark0"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
}

// What CNI and others make is left alone by the real rule for links.
func TestForeignLinksAreLeftAlone(t *testing.T) {
	needNamespace(t)
	links := []netlink.Link{
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "vethcafe"}, PeerName: "vethbeef"},
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}},
	}
	for _, l := range links {
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netlink.LinkDel(l) })
	}
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if isPhysical(l) {
			t.Errorf("isPhysical(%s, kind %s) = true, want false", l.Attrs().Name, l.Type())
		}
	}
}

// A VLAN is made on its parent, which is set up for it, though it stands first in the
// file; its parent gone and back, it is made again.
func TestVLAN(t *testing.T) {
	needNamespace(t)
	needKind(t, &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{ParentIndex: 1}, VlanId: 9})
	l := newLAN(t, "trunk0")
	l.far(func(link netlink.Link) error {
		v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "tagged", ParentIndex: link.Attrs().Index}, VlanId: 7}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		if err := netlink.AddrAdd(v, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.168.64.1/24"))}); err != nil {
			return err
		}
		return up(v)
	})
	l.serve("192.168.64.1", "192.168.64.20", time.Hour)
	n := startNode(t, config.Network{Interfaces: []config.Interface{
		{Name: "lab", VLAN: &config.VLAN{ID: 7, Parent: "trunk0"}, DHCP: true},
	}}, "trunk")
	if got, want := n.wait(), "lab 192.168.64.20/24 (DHCP)"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
	parent, err := netlink.LinkByName("trunk0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(parent); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Second, "the VLAN is gone", func() bool { _, err := netlink.LinkByName("lab"); return err != nil })
	l.plug()
	eventually(t, 3*time.Second, "the VLAN is back", func() bool { _, err := netlink.LinkByName("lab"); return err == nil })
}

// A bond gets its members as they appear, DHCP runs on it and not on them, and it goes on
// when one member's cable is pulled. A VLAN on the bond, first in the file, works too.
func TestBond(t *testing.T) {
	needNamespace(t)
	needKind(t, netlink.NewLinkBond(netlink.LinkAttrs{}))
	a, b := newLAN(t, "member0", "192.168.65.1/24"), newLAN(t, "member1", "192.168.65.1/24")
	sa := a.serve("192.168.65.1", "192.168.65.20", time.Hour)
	sb := b.serve("192.168.65.1", "192.168.65.20", time.Hour)
	n := startNode(t, config.Network{Interfaces: []config.Interface{
		{Name: "up.7", VLAN: &config.VLAN{ID: 7, Parent: "up"}, Addresses: prefixes("192.168.66.20/24")},
		{Name: "up", Bond: &config.Bond{Members: []string{"member0", "member1", "member2"}, Mode: "active-backup", Primary: "member1"}, DHCP: true},
		{Match: config.Match{Name: "member*"}, DHCP: true}, // must not win over membership
	}}, "member")
	eventually(t, 10*time.Second, "the bond's address", func() bool { return hasAddr("up", "192.168.65.20/24") })
	eventually(t, 2*time.Second, "the VLAN's address", func() bool { return hasAddr("up.7", "192.168.66.20/24") })
	for _, name := range []string{"member0", "member1"} {
		if hasAddr(name, "192.168.65.20/24") {
			t.Errorf("%s has the address, want it on the bond alone", name)
		}
	}
	active := func() int {
		link, err := netlink.LinkByName("up")
		if err != nil {
			t.Fatal(err)
		}
		return link.(*netlink.Bond).ActiveSlave
	}
	m0, err := netlink.LinkByName("member0")
	if err != nil {
		t.Fatal(err)
	}
	m1, err := netlink.LinkByName("member1")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Second, "the primary member is active", func() bool { return active() == m1.Attrs().Index })
	b.carrier(false)
	eventually(t, 2*time.Second, "the other member is active", func() bool { return active() == m0.Attrs().Index })
	always(t, time.Second, "the address is there", func() bool { return hasAddr("up", "192.168.65.20/24") })
	newLAN(t, "member2")
	eventually(t, 3*time.Second, "the late member is in", func() bool {
		m, err := netlink.LinkByName("member2")
		return err == nil && m.Attrs().MasterIndex != 0
	})
	if len(sa.got(isType(dhcpv4.MessageTypeDiscover)))+len(sb.got(isType(dhcpv4.MessageTypeDiscover))) == 0 {
		t.Error("no DISCOVER arrived")
	}
	n.stop()
	for _, name := range []string{"up.7", "up"} {
		if link, err := netlink.LinkByName(name); err == nil {
			netlink.LinkDel(link)
		}
	}
}
