package network

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
)

// advertisement is a router advertisement: prefix 2001:db8:5::/64, name server
// 2001:db8:5::53 and fe80::53, domain v6.example, DNS for lifetime seconds.
func advertisement(lifetime byte) []byte {
	b := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	prefix := []byte{3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0}
	b = append(append(b, prefix...), netip.MustParseAddr("2001:db8:5::").AsSlice()...)
	b = append(b, optRDNSS, 5, 0, 0, 0, 0, 0, lifetime)
	b = append(b, netip.MustParseAddr("2001:db8:5::53").AsSlice()...)
	b = append(b, netip.MustParseAddr("fe80::53").AsSlice()...)
	b = append(b, optDNSSL, 3, 0, 0, 0, 0, 0, lifetime)
	return append(b, "\x02v6\x07example\x00\x00\x00\x00\x00"...)
}

// The kernel takes an address and a route from a router advertisement although it
// forwards; name servers and domains are taken from it by us, and forgotten in time.
func TestSLAAC(t *testing.T) {
	l := newLAN(t, "slaac0", "fe80::1/64")
	if err := setSysctl("ipv6", "all", "forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { setSysctl("ipv6", "all", "forwarding", "0") })
	n := startNode(t, config.Network{Interfaces: []config.Interface{{Match: config.Match{Name: "slaac0"}, SLAAC: true}}}, "slaac")
	eventually(t, 5*time.Second, "an address of the link's own", func() bool {
		link, err := netlink.LinkByName("slaac0")
		if err != nil {
			return false
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		return err == nil && len(addrs) > 0 && addrs[0].Flags&unix.IFA_F_TENTATIVE == 0
	})
	advertise := func(lifetime byte) {
		l.far(func(link netlink.Link) error {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
				return err
			}
			to := &unix.SockaddrInet6{ZoneId: uint32(link.Attrs().Index), Addr: [16]byte(net.ParseIP("ff02::1"))}
			return unix.Sendto(fd, advertisement(lifetime), 0, to)
		})
	}
	advertise(60)
	if got := n.wait(); !strings.HasPrefix(got, "slaac0 2001:db8:5:") {
		t.Errorf("Wait = %q, want an address in 2001:db8:5::/64", got)
	}
	want := "nameserver 2001:db8:5::53\nnameserver fe80::53%slaac0\nsearch v6.example\n"
	eventually(t, 2*time.Second, "name servers in resolv.conf", func() bool { return strings.HasSuffix(fileText(t, n.resolv), want) })
	found := false
	for _, r := range routesOf(t, "slaac0", netlink.FAMILY_V6) {
		found = found || strings.HasPrefix(r, "::/0 fe80::") && strings.HasSuffix(r, " 0")
	}
	if !found {
		t.Errorf("routes %q: no default route of our metric", routesOf(t, "slaac0", netlink.FAMILY_V6))
	}
	advertise(1)
	eventually(t, 4*time.Second, "name servers forgotten", func() bool { return !strings.Contains(fileText(t, n.resolv), "nameserver") })
}
