package dhcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	ourMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	us     = netip.MustParseAddr("192.168.1.20")
	them   = netip.MustParseAddr("192.168.1.1")
)

// network is a fake link with a DHCP server on it.
type network struct {
	mu     sync.Mutex
	give   netip.Addr
	lease  time.Duration
	deaf   bool                 // nothing arrives at the server
	nak    bool                 // every REQUEST is refused
	change func(*dhcpv4.DHCPv4) // spoils the answers
	begin  time.Time
	sent   []message
}

// message is what the client sent: when after the start, what, and to whom.
type message struct {
	after time.Duration
	*dhcpv4.DHCPv4
	to netip.Addr
}

type fakeConn struct {
	n       *network
	packets chan *dhcpv4.DHCPv4
}

func (c *fakeConn) Packets() <-chan *dhcpv4.DHCPv4 { return c.packets }
func (c *fakeConn) Close() error                   { return nil }

func (c *fakeConn) Send(p *dhcpv4.DHCPv4, from, to netip.Addr) error {
	q, err := dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		return err
	}
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, message{time.Since(n.begin), q, to})
	if n.deaf {
		return nil
	}
	r, err := dhcpv4.NewReplyFromRequest(q)
	if err != nil {
		return err
	}
	r.UpdateOption(dhcpv4.OptServerIdentifier(them.AsSlice()))
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(n.lease))
	r.YourIPAddr = n.give.AsSlice()
	switch {
	case q.MessageType() == dhcpv4.MessageTypeDiscover:
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
	case n.nak:
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
	default:
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
	}
	if n.change != nil {
		n.change(r)
	}
	c.packets <- r
	return nil
}

func (n *network) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// messages returns what was sent since the last call.
func (n *network) messages() []message {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.sent
	n.sent = nil
	return list
}

// run runs a client on a fake network in a time bubble. held returns the address on the link.
func run(t *testing.T, f func(n *network, c *Client, held func() netip.Addr)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{give: us, lease: 1000 * time.Second, begin: time.Now()}
		var mu sync.Mutex
		var addr netip.Addr
		c := New(Config{
			HWAddr:   ourMAC,
			Hostname: "kitchen-pi",
			Open: func() (Conn, error) {
				return &fakeConn{n: n, packets: make(chan *dhcpv4.DHCPv4, 8)}, nil
			},
			Apply: func(l *Lease) error { mu.Lock(); defer mu.Unlock(); addr = l.Addr.Addr(); return nil },
			Drop:  func(*Lease) { mu.Lock(); defer mu.Unlock(); addr = netip.Addr{} },
			Log:   t.Logf,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		f(n, c, func() netip.Addr { synctest.Wait(); mu.Lock(); defer mu.Unlock(); return addr })
		cancel()
		<-ended
	})
}

func types(list []message) (t []dhcpv4.MessageType) {
	for _, m := range list {
		t = append(t, m.MessageType())
	}
	return t
}

func TestNothingIsSentWithoutCarrier(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		time.Sleep(time.Hour)
		if got := n.messages(); len(got) != 0 {
			t.Errorf("sent %v", got)
		}
		c.SetCarrier(true)
		if got := held(); got != us {
			t.Errorf("holds %v at once, want %v", got, us)
		}
		got := types(n.messages())
		if want := []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest}; !slices.Equal(got, want) {
			t.Errorf("sent %v, want %v", got, want)
		}
	})
}

func TestDiscoverBacksOffForever(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		n.deaf = true
		c.SetCarrier(true)
		time.Sleep(24 * time.Hour)
		list := n.messages()
		for i := 1; i < len(list); i++ {
			want := min(firstWait<<min(i-1, 10), lastWait)
			if got := list[i].after - list[i-1].after; got < want*8/10 || got > want*12/10 {
				t.Fatalf("DISCOVER %d came %v after the one before, want %v ± 20 %%", i, got, want)
			}
		}
		if len(list) < 24*60 {
			t.Errorf("%d DISCOVERs in a day, want two a minute or more", len(list))
		}
		if list[0].IsBroadcast() || !list[5].IsBroadcast() {
			t.Error("want the broadcast flag from the third DISCOVER on, not before")
		}
		n.set(func() { n.deaf = false })
		time.Sleep(lastWait * 12 / 10)
		if got := held(); got != us {
			t.Errorf("holds %v after the server is back, want %v", got, us)
		}
	})
}

func TestRenewAtT1UnicastThenRebindAtT2Broadcast(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		c.SetCarrier(true)
		held()
		n.messages()
		time.Sleep(501 * time.Second)
		list := n.messages()
		if len(list) != 1 || list[0].after != 500*time.Second || list[0].to != them || list[0].ClientIPAddr.String() != us.String() ||
			list[0].ServerIdentifier() != nil || list[0].RequestedIPAddress() != nil {
			t.Fatalf("at half time sent %v, want one unicast REQUEST with our address and neither option 50 nor 54", list)
		}
		// Renewed at 500 s: T1 at 1000 s, T2 at 1375 s, end at 1500 s.
		n.set(func() { n.deaf = true })
		time.Sleep(1498*time.Second - time.Since(n.begin))
		if got := held(); got != us {
			t.Errorf("holds %v before the lease ends, want %v", got, us)
		}
		list = n.messages()
		broadcasts := 0
		for _, m := range list {
			if unicast := m.to.IsValid(); unicast != (m.after < 1375*time.Second) {
				t.Errorf("REQUEST after %v: unicast %v", m.after, unicast)
			} else if !unicast {
				broadcasts++
			}
		}
		if list[0].after != 1000*time.Second || len(list)-broadcasts < 3 || broadcasts < 2 {
			t.Errorf("sent %d unicast from %v on and %d broadcast, want 3 or more from 1000 s on, and 2 or more", len(list)-broadcasts, list[0].after, broadcasts)
		}
		time.Sleep(3 * time.Second)
		if got := held(); got.IsValid() {
			t.Errorf("holds %v after the lease's end", got)
		}
		n.set(func() { n.deaf = false })
		time.Sleep(10 * time.Second)
		if got := held(); got != us {
			t.Errorf("holds %v after the server is back, want %v", got, us)
		}
	})
}

func TestRebindIsAnswered(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		c.SetCarrier(true)
		held()
		n.set(func() { n.deaf = true })
		time.Sleep(880 * time.Second)
		n.set(func() { n.deaf = false })
		n.messages()
		time.Sleep(110 * time.Second)
		if got := held(); got != us {
			t.Errorf("holds %v, want %v", got, us)
		}
		if got := types(n.messages()); !slices.Equal(got, []dhcpv4.MessageType{dhcpv4.MessageTypeRequest}) {
			t.Errorf("sent %v, want one REQUEST", got)
		}
	})
}

func TestNAKDropsTheLeaseAtOnce(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		c.SetCarrier(true)
		held()
		n.set(func() { n.nak = true })
		time.Sleep(500 * time.Second)
		if got := held(); got.IsValid() {
			t.Errorf("holds %v after a NAK", got)
		}
		time.Sleep(10 * time.Minute)
		if got := len(n.messages()); got > 60 {
			t.Errorf("%d messages to a server that refuses for 10 minutes, want 60 or fewer", got)
		}
		n.set(func() { n.nak = false })
		time.Sleep(40 * time.Second)
		if got := held(); got != us {
			t.Errorf("holds %v, want %v", got, us)
		}
	})
}

func TestCarrierBackAsksForTheSameAddress(t *testing.T) {
	other := netip.MustParseAddr("10.0.0.7")
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		c.SetCarrier(true)
		held()
		n.messages()
		c.SetCarrier(false)
		time.Sleep(time.Minute)
		c.SetCarrier(true)
		if got := held(); got != us {
			t.Errorf("holds %v, want %v", got, us)
		}
		list := n.messages()
		if len(list) != 1 || list[0].to.IsValid() || list[0].RequestedIPAddress().String() != us.String() ||
			!list[0].ClientIPAddr.IsUnspecified() || list[0].ServerIdentifier() != nil {
			t.Errorf("sent %v, want one broadcast REQUEST with option 50 and neither our address nor option 54", list)
		}

		// Nobody answers: the address is kept, and asked for until the lease ends.
		n.set(func() { n.deaf, n.give = true, other })
		c.SetCarrier(false)
		held()
		c.SetCarrier(true)
		time.Sleep(10 * time.Minute)
		if got := held(); got != us {
			t.Errorf("holds %v while the lease is valid, want %v", got, us)
		}
		n.set(func() { n.deaf = false })
		time.Sleep(time.Minute)
		if got := held(); got != other {
			t.Errorf("holds %v after an answer, want %v", got, other)
		}
	})
}

func TestLeaseEndsWithoutCarrier(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		c.SetCarrier(true)
		held()
		c.SetCarrier(false)
		n.messages()
		time.Sleep(999 * time.Second)
		if got := held(); got != us {
			t.Errorf("holds %v, want %v", got, us)
		}
		time.Sleep(2 * time.Second)
		if got := held(); got.IsValid() {
			t.Errorf("holds %v after the lease's end", got)
		}
		if got := n.messages(); len(got) != 0 {
			t.Errorf("sent %v without carrier", got)
		}
	})
}

func TestLeaseForEver(t *testing.T) {
	run(t, func(n *network, c *Client, held func() netip.Addr) {
		n.lease = Forever
		c.SetCarrier(true)
		held()
		n.messages()
		time.Sleep(10 * 365 * 24 * time.Hour)
		if got := n.messages(); held() != us || len(got) != 0 {
			t.Errorf("after ten years holds %v and has sent %v", held(), got)
		}
	})
}

func TestAnswersToOthersAreIgnored(t *testing.T) {
	spoil := map[string]func(*dhcpv4.DHCPv4){
		"transaction": func(p *dhcpv4.DHCPv4) { p.TransactionID[0]++ },
		"hardware":    func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = net.HardwareAddr{2, 0, 0, 0, 0, 2} },
		"request":     func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootRequest },
		"no server":   func(p *dhcpv4.DHCPv4) { p.DeleteOption(dhcpv4.OptionServerIdentifier) },
		"no address":  func(p *dhcpv4.DHCPv4) { p.YourIPAddr = net.IPv4zero },
		"multicast":   func(p *dhcpv4.DHCPv4) { p.YourIPAddr = net.IPv4(224, 0, 0, 1) },
		"no type":     func(p *dhcpv4.DHCPv4) { p.DeleteOption(dhcpv4.OptionDHCPMessageType) },
	}
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			run(t, func(n *network, c *Client, held func() netip.Addr) {
				n.change = f
				c.SetCarrier(true)
				time.Sleep(time.Minute)
				if got := held(); got.IsValid() {
					t.Errorf("holds %v", got)
				}
			})
		})
	}
}

func TestSocketThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{give: us, lease: time.Hour, begin: time.Now()}
		tries, got := 0, false
		c := New(Config{
			HWAddr: ourMAC,
			Open: func() (Conn, error) {
				if tries++; tries < 4 {
					return nil, errors.New("no such link")
				}
				return &fakeConn{n: n, packets: make(chan *dhcpv4.DHCPv4, 8)}, nil
			},
			Apply: func(*Lease) error { got = true; return nil },
			Drop:  func(*Lease) {},
		})
		c.SetCarrier(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.Run(ctx)
		if !got {
			t.Errorf("no lease after %d tries", tries)
		}
	})
}
