package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func ack(opts ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootReply, YourIPAddr: us.AsSlice(), Options: dhcpv4.Options{}}
	p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
	for _, o := range opts {
		p.UpdateOption(o)
	}
	return p
}

func TestLeaseTimes(t *testing.T) {
	tests := []struct {
		name                string
		time, t1, t2        time.Duration // 0: option not sent
		wantT1, wantT2, end time.Duration
	}{
		{"defaults", 800 * time.Second, 0, 0, 400 * time.Second, 700 * time.Second, 800 * time.Second},
		{"given", 800 * time.Second, 100 * time.Second, 200 * time.Second, 100 * time.Second, 200 * time.Second, 800 * time.Second},
		{"T1 after T2", 800 * time.Second, 300 * time.Second, 200 * time.Second, 100 * time.Second, 200 * time.Second, 800 * time.Second},
		{"T2 after the end", 800 * time.Second, 100 * time.Second, 900 * time.Second, 100 * time.Second, 700 * time.Second, 800 * time.Second},
		{"no time", 0, 0, 0, 30 * time.Minute, 3150 * time.Second, time.Hour},
		{"for ever", Forever, 0, 0, Forever / 2, Forever / 8 * 7, Forever},
	}
	for _, tt := range tests {
		var opts []dhcpv4.Option
		if tt.time != 0 {
			opts = append(opts, dhcpv4.OptIPAddressLeaseTime(tt.time))
		}
		if tt.t1 != 0 {
			opts = append(opts, dhcpv4.OptRenewTimeValue(tt.t1))
		}
		if tt.t2 != 0 {
			opts = append(opts, dhcpv4.OptRebindingTimeValue(tt.t2))
		}
		l, err := newLease(ack(opts...), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		near := func(a, b time.Duration) bool { return (a - b).Abs() < time.Second }
		if !near(l.T1, tt.wantT1) || !near(l.T2, tt.wantT2) || l.Expires != tt.end {
			t.Errorf("%s: T1 %v, T2 %v, end %v, want %v, %v, %v", tt.name, l.T1, l.T2, l.Expires, tt.wantT1, tt.wantT2, tt.end)
		}
	}
}

func TestLeaseRoutes(t *testing.T) {
	router := dhcpv4.OptRouter(net.IPv4(192, 168, 1, 1), net.IPv4(192, 168, 1, 2))
	classless := dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}, Router: net.IPv4(192, 168, 1, 9)})
	everywhere := Route{netip.MustParsePrefix("0.0.0.0/0"), them}
	ten := Route{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParseAddr("192.168.1.9")}
	tests := []struct {
		name string
		opts []dhcpv4.Option
		want []Route
	}{
		{"none", nil, nil},
		{"router", []dhcpv4.Option{router}, []Route{everywhere}},
		{"classless", []dhcpv4.Option{classless}, []Route{ten}},
		{"both: the router does not count", []dhcpv4.Option{router, classless}, []Route{ten}},
		{"classless malformed", []dhcpv4.Option{router, dhcpv4.OptGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{33, 1})}, []Route{everywhere}},
	}
	for _, tt := range tests {
		l, err := newLease(ack(tt.opts...), time.Now())
		if err != nil || !slices.Equal(l.Routes, tt.want) {
			t.Errorf("%s: routes %v, %v, want %v", tt.name, l.Routes, err, tt.want)
		}
	}
}

func TestLeaseLeavesOutWhatIsNoHostOrName(t *testing.T) {
	l, err := newLease(ack(
		dhcpv4.OptDNS(net.IPv4zero, net.IPv4(127, 0, 0, 53), net.IPv4(224, 0, 0, 1), net.IPv4bcast, net.IPv4(9, 9, 9, 9), net.IPv4(9, 9, 9, 9)),
		dhcpv4.OptDomainName("Home.Example. x\nnameserver lab\x00"),
		dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0}),
	), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("9.9.9.9")}; !slices.Equal(l.DNS, want) {
		t.Errorf("DNS = %v, want %v", l.DNS, want)
	}
	if want := []string{"home.example", "x", "nameserver", "lab"}; !slices.Equal(l.Search, want) {
		t.Errorf("Search = %q, want %q", l.Search, want)
	}
	if l.Addr != netip.PrefixFrom(us, 24) {
		t.Errorf("Addr = %v with a bad mask, want the class's /24", l.Addr)
	}
}

func TestWrapUnwrap(t *testing.T) {
	payload := []byte("odd")
	b := wrap(us, them, payload)
	if sum(0, b[:ipv4Size]) != 0xffff {
		t.Error("bad header checksum")
	}
	pseudo := append(slices.Clone(b[12:20]), 0, 17, b[24], b[25])
	if sum(uint32(sum(0, pseudo)), b[ipv4Size:]) != 0xffff {
		t.Error("bad UDP checksum")
	}
	if _, err := unwrap(b); err == nil {
		t.Error("a packet to a server was taken for one to a client")
	}
	copy(b[20:24], []byte{0, serverPort, 0, clientPort})
	got, err := unwrap(append(b, 0, 0, 0)) // Ethernet padding
	if err != nil || !bytes.Equal(got, payload) {
		t.Errorf("unwrap = %q, %v, want %q", got, err, payload)
	}
	b[6] = 0x20 // more fragments
	if _, err := unwrap(b); err == nil {
		t.Error("a fragment was taken")
	}
}

func FuzzUnwrap(f *testing.F) {
	b := wrap(them, us, ack().ToBytes())
	copy(b[20:24], []byte{0, serverPort, 0, clientPort})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, err := unwrap(b)
		if err == nil && len(payload) > len(b)-ipv4Size-udpSize {
			t.Errorf("unwrap(%x) = %d bytes", b, len(payload))
		}
	})
}

// FuzzLease checks that no message of a server makes a lease that cannot be applied.
func FuzzLease(f *testing.F) {
	f.Add(ack(dhcpv4.OptRouter(net.IPv4(192, 168, 1, 1)), dhcpv4.OptDomainName("a"), dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := newLease(p, time.Now())
		if err != nil {
			return
		}
		if !l.Addr.IsValid() || l.T1 <= 0 || l.T1 >= l.T2 || l.T2 >= l.Expires {
			t.Errorf("%x: lease %+v", b, l)
		}
		for _, d := range l.Search {
			if !ValidDomain(d) {
				t.Errorf("%x: domain %q", b, d)
			}
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() || r.To.Masked() != r.To {
				t.Errorf("%x: route %v", b, r)
			}
		}
	})
}
