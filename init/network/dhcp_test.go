package network

import (
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

func isType(t dhcpv4.MessageType) func(seen) bool {
	return func(s seen) bool { return s.MessageType() == t }
}

// renewals are REQUESTs that extend a lease.
func renewals(s seen) bool {
	return s.MessageType() == dhcpv4.MessageTypeRequest && !s.ClientIPAddr.IsUnspecified()
}

// A lease sets everything it says: address, routes, MTU, name servers, NTP; with no
// configuration at all.
func TestDHCPLeaseSetsUpLink(t *testing.T) {
	l := newLAN(t, "lease0", "192.168.50.1/24")
	s := l.serve("192.168.50.1", "192.168.50.20", time.Hour,
		dhcpv4.OptRouter(net.IPv4(192, 168, 50, 1)),
		dhcpv4.OptClasslessStaticRoute(
			&dhcpv4.Route{Dest: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Router: net.IPv4(192, 168, 50, 2)},
			&dhcpv4.Route{Dest: ipNet(netip.MustParsePrefix("10.9.0.0/16")), Router: net.IPv4(192, 168, 50, 3)},
			&dhcpv4.Route{Dest: ipNet(netip.MustParsePrefix("10.8.0.0/16")), Router: net.IPv4zero}),
		dhcpv4.OptDNS(net.IPv4(192, 168, 50, 1), net.IPv4(192, 168, 50, 2)),
		dhcpv4.OptDomainName("home.example"),
		dhcpv4.OptNTPServers(net.IPv4(192, 168, 50, 4)),
		dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(1400)})
	n := startNode(t, config.Network{}, "lease")
	if got, want := n.wait(), "lease0 192.168.50.20/24 (DHCP)"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
	got := routesOf(t, "lease0", netlink.FAMILY_V4)
	want := []string{
		"0.0.0.0/0 192.168.50.2 0",
		"10.8.0.0/16 <nil> 0",
		"10.9.0.0/16 192.168.50.3 0",
		"192.168.50.0/24 <nil> 0",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("routes (metric less 100 + index) = %q, want %q", got, want)
	}
	if got, want := fileText(t, n.resolv), "nameserver 192.168.50.1\nnameserver 192.168.50.2\nsearch home.example\n"; !strings.HasSuffix(got, want) {
		t.Errorf("resolv.conf = %q, want it to end in %q", got, want)
	}
	if got, want := n.NTPServers(), []netip.Addr{netip.MustParseAddr("192.168.50.4")}; !slices.Equal(got, want) {
		t.Errorf("NTPServers = %v, want %v", got, want)
	}
	link, err := netlink.LinkByName("lease0")
	if err != nil {
		t.Fatal(err)
	}
	if got := link.Attrs().MTU; got != 1400 {
		t.Errorf("MTU = %d, want 1400", got)
	}
	d := s.got(isType(dhcpv4.MessageTypeDiscover))[0]
	if want := append([]byte{1}, link.Attrs().HardwareAddr...); !slices.Equal(d.GetOneOption(dhcpv4.OptionClientIdentifier), want) {
		t.Errorf("client id = %x, want %x", d.GetOneOption(dhcpv4.OptionClientIdentifier), want)
	}
	if d.HostName() == "" {
		t.Error("no host name sent")
	}
}

// At T1 the lease is renewed by unicast, again and again, and the address never goes.
func TestDHCPRenewsAtT1(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "renew0", "192.168.51.1/24")
	s := l.serve("192.168.51.1", "192.168.51.20", 8*time.Second)
	s.set(func() { s.t1, s.t2 = 2*time.Second, 7*time.Second })
	n := startNode(t, config.Network{}, "renew")
	n.wait()
	always(t, 10*time.Second, "the address is there", func() bool { return hasAddr("renew0", "192.168.51.20/24") })
	list := s.got(renewals)
	if len(list) < 4 {
		t.Errorf("%d renewals in 10 s with T1 = 2 s, want 4 or more", len(list))
	}
	for _, r := range list {
		if r.to != netip.MustParseAddr("192.168.51.1") {
			t.Errorf("renewal sent to %s, want the server", r.to)
		}
	}
	if got := len(s.got(isType(dhcpv4.MessageTypeDiscover))); got != 1 {
		t.Errorf("%d DISCOVERs, want 1", got)
	}
}

// When the server is gone at T1 and another answers at T2, the lease is kept.
func TestDHCPRebindsAtT2(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "rebind0", "192.168.52.1/24")
	s := l.serve("192.168.52.1", "192.168.52.20", 10*time.Second)
	s.set(func() { s.t1, s.t2 = 2*time.Second, 4*time.Second })
	n := startNode(t, config.Network{}, "rebind")
	n.wait()
	l.far(func(link netlink.Link) error { // the server moves to another address
		if err := netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.168.52.1/24"))}); err != nil {
			return err
		}
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.168.52.9/24"))})
	})
	s.set(func() { s.id = netip.MustParseAddr("192.168.52.9") })
	always(t, 12*time.Second, "the address is there", func() bool { return hasAddr("rebind0", "192.168.52.20/24") })
	list := s.got(renewals)
	if len(list) == 0 || list[0].to != netip.MustParseAddr("255.255.255.255") {
		t.Errorf("first request that arrived: %v, want a broadcast", list)
	}
	if got := list[len(list)-1].to; got != netip.MustParseAddr("192.168.52.9") {
		t.Errorf("last renewal sent to %s, want the new server", got)
	}
}

// A NAK takes the address away at once, and a new one is asked for.
func TestDHCPStartsAgainAfterNAK(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "nak0", "192.168.53.1/24")
	s := l.serve("192.168.53.1", "192.168.53.20", 6*time.Second, dhcpv4.OptRouter(net.IPv4(192, 168, 53, 1)))
	n := startNode(t, config.Network{}, "nak")
	n.wait()
	s.set(func() { s.give = netip.MustParseAddr("192.168.53.30") })
	eventually(t, 6*time.Second, "the new address", func() bool { return hasAddr("nak0", "192.168.53.30/24") })
	if hasAddr("nak0", "192.168.53.20/24") {
		t.Error("the old address is still there")
	}
	if got := routesOf(t, "nak0", netlink.FAMILY_V4); len(got) != 2 {
		t.Errorf("routes = %q, want the subnet and the default route", got)
	}
}

// A server that is away until the lease ends costs the address; when it is back, so is
// the address, without a restart.
func TestDHCPComesBackAfterExpiry(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "expire0", "192.168.54.1/24")
	s := l.serve("192.168.54.1", "192.168.54.20", 4*time.Second, dhcpv4.OptDNS(net.IPv4(192, 168, 54, 1)))
	n := startNode(t, config.Network{}, "expire")
	n.wait()
	s.set(func() { s.mute = true })
	eventually(t, 6*time.Second, "the address is gone", func() bool { return !hasAddr("expire0", "192.168.54.20/24") })
	eventually(t, time.Second, "its name server is gone", func() bool { return !strings.Contains(fileText(t, n.resolv), "192.168.54.1") })
	s.set(func() { s.mute = false })
	eventually(t, 12*time.Second, "the address is back", func() bool { return hasAddr("expire0", "192.168.54.20/24") })
}

// Before there is a server, the client goes on asking; Wait is bounded by its context.
func TestDHCPWaitsForServer(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "late0", "192.168.55.1/24")
	s := l.serve("192.168.55.1", "192.168.55.20", time.Hour)
	s.set(func() { s.mute = true })
	n := startNode(t, config.Network{}, "late")
	eventually(t, 10*time.Second, "three DISCOVERs", func() bool { return len(s.got(isType(dhcpv4.MessageTypeDiscover))) >= 3 })
	s.set(func() { s.mute = false })
	if got, want := n.wait(), "late0 192.168.55.20/24 (DHCP)"; got != want {
		t.Errorf("Wait = %q, want %q", got, want)
	}
}

// When the cable comes back, the client asks whether its address holds there: on the same
// network it is kept, on another it is replaced.
func TestDHCPAsksAgainWhenCarrierIsBack(t *testing.T) {
	t.Parallel()
	l := newLAN(t, "cable0", "192.168.56.1/24")
	s := l.serve("192.168.56.1", "192.168.56.20", time.Hour)
	n := startNode(t, config.Network{}, "cable")
	n.wait()
	reboots := func() int {
		return len(s.got(func(s seen) bool {
			return s.MessageType() == dhcpv4.MessageTypeRequest && s.ServerIdentifier() == nil && s.ClientIPAddr.IsUnspecified()
		}))
	}
	l.carrier(false)
	always(t, time.Second, "the address is there", func() bool { return hasAddr("cable0", "192.168.56.20/24") })
	l.carrier(true)
	eventually(t, 3*time.Second, "a REQUEST for the same address", func() bool { return reboots() == 1 })
	if !hasAddr("cable0", "192.168.56.20/24") {
		t.Error("the address is gone")
	}
	l.carrier(false)
	time.Sleep(3 * settle) // so that the loss is seen
	s.set(func() { s.give = netip.MustParseAddr("192.168.56.30") })
	l.carrier(true)
	eventually(t, 6*time.Second, "the new address", func() bool { return hasAddr("cable0", "192.168.56.30/24") })
	if hasAddr("cable0", "192.168.56.20/24") {
		t.Error("the old address is still there")
	}
}
