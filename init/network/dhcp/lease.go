package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what a server gave us.
type Lease struct {
	Addr    netip.Prefix // our address and the length of its subnet's prefix
	Server  netip.Addr   // server identifier: where renewals go
	Routes  []Route      // from option 121, or else the default route from option 3
	DNS     []netip.Addr
	Search  []string // domains: option 119, or else 15; each a valid DNS name
	NTP     []netip.Addr
	MTU     int // bytes; 0: not given
	Start   time.Time
	T1, T2  time.Duration // after Start: renew, rebind; 0 < T1 < T2 < Expires
	Expires time.Duration // after Start; Forever: never
}

// Forever is the duration of a lease without end (0xffffffff seconds).
const Forever = (1<<32 - 1) * time.Second

// Route is one route of a lease.
type Route struct {
	To  netip.Prefix
	Via netip.Addr // zero value: on the link itself
}

// left returns how long after now the time t after Start is; never negative.
func (l *Lease) left(t time.Duration) time.Duration {
	return max(0, time.Until(l.Start.Add(t)))
}

// Left returns how long the lease still holds; Forever if it does not end.
func (l *Lease) Left() time.Duration {
	if l.Expires == Forever {
		return Forever
	}
	return l.left(l.Expires)
}

// newLease makes a lease of an offer or ACK that answers a request sent at start.
func newLease(p *dhcpv4.DHCPv4, start time.Time) (*Lease, error) {
	addr, ok := netip.AddrFromSlice(p.YourIPAddr.To4())
	if !ok || !isHost(addr) {
		return nil, fmt.Errorf("DHCP %s gives %s: not a host's address", p.MessageType(), p.YourIPAddr)
	}
	bits := maskBits(p.SubnetMask(), addr)
	l := &Lease{Addr: netip.PrefixFrom(addr, bits), Start: start}
	l.Server, _ = netip.AddrFromSlice(p.ServerIdentifier().To4())
	l.DNS = hosts(p.DNS())
	l.NTP = hosts(p.NTPServers())
	l.Routes = routes(p)
	if labels := p.DomainSearch(); labels != nil {
		l.Search = domains(labels.Labels)
	}
	if len(l.Search) == 0 {
		// More than one name in option 15 is wrong, but seen.
		l.Search = domains(strings.Fields(strings.TrimRight(p.DomainName(), "\x00")))
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, p.Options); err == nil && mtu >= 576 {
		l.MTU = int(mtu)
	}
	// Without option 51 (an error, but seen): an hour.
	l.Expires = max(p.IPAddressLeaseTime(time.Hour), time.Second)
	l.T1 = p.IPAddressRenewalTime(0)
	l.T2 = p.IPAddressRebindingTime(0)
	if l.T2 <= 0 || l.T2 >= l.Expires {
		l.T2 = l.Expires / 8 * 7 // in this order: Forever * 7 overflows
	}
	if l.T1 <= 0 || l.T1 >= l.T2 {
		if l.T1 = l.Expires / 2; l.T1 >= l.T2 {
			l.T1 = l.T2 / 2
		}
	}
	return l, nil
}

// maskBits returns the length of the prefix that mask says; without a usable mask, that
// of the address's class, as RFC 950 has it.
func maskBits(mask net.IPMask, addr netip.Addr) int {
	if ones, size := mask.Size(); size == 32 && ones > 0 {
		return ones
	}
	ones, _ := net.IP(addr.AsSlice()).DefaultMask().Size()
	return ones
}

// isHost says whether a is an address that one host can have.
func isHost(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] < 240 && a.As4()[0] > 0
}

func hosts(ips []net.IP) []netip.Addr {
	var list []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && isHost(a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// routes takes option 121 alone if it is there, as RFC 3442 demands, else the first
// router of option 3.
func routes(p *dhcpv4.DHCPv4) []Route {
	var list []Route
	for _, r := range p.ClasslessStaticRoute() {
		to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		if !ok {
			continue
		}
		ones, _ := r.Dest.Mask.Size()
		route := Route{To: netip.PrefixFrom(to, ones).Masked()}
		if via, ok := netip.AddrFromSlice(r.Router.To4()); ok && !via.IsUnspecified() {
			if !isHost(via) {
				continue
			}
			route.Via = via
		}
		list = append(list, route)
	}
	if len(list) > 0 {
		return list
	}
	if routers := hosts(p.Router()); len(routers) > 0 {
		return []Route{{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: routers[0]}}
	}
	return nil
}

// domains returns the valid DNS names in list, lower case and without a final dot. A
// server on the network is not trusted: what it says ends up in resolv.conf.
func domains(list []string) []string {
	var out []string
	for _, name := range list {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if ValidDomain(name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// ValidDomain says whether name is a DNS name of letters, digits, "-" and "_", in labels
// of 1 to 63 bytes and at most 253 bytes in all.
func ValidDomain(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
