package dhcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// firstWait and lastWait bound how long an unanswered DISCOVER is waited for; it
	// doubles from one to the other. RFC 2131 begins at 4 s; a link that has just come
	// up often swallows the first packet, and every boot waits for this one.
	firstWait = time.Second
	lastWait  = 30 * time.Second
	// requests is how often a REQUEST is sent before the server counts as silent.
	requests = 4
	// minResend is the least time between two renewals (RFC 2131 §4.4.5), but never more
	// than an eighth of the lease.
	minResend = 60 * time.Second
	// quietRounds is how many DISCOVERs go unanswered before the log says so.
	quietRounds = 3
)

// Config is what a client needs. All fields must be set, but Hostname and Log.
type Config struct {
	HWAddr   net.HardwareAddr // Ethernet
	Hostname string           // option 12; empty: not sent
	Open     func() (Conn, error)
	// Apply puts a lease on the link, new or renewed, in place of the one before.
	Apply func(*Lease) error
	// Drop takes the lease off the link.
	Drop func(*Lease)
	Log  func(format string, args ...any)
}

// Client is the DHCP client of one link.
type Client struct {
	cfg     Config
	carrier atomic.Bool
	wake    chan struct{} // capacity 1: the carrier changed
}

// New returns a client that believes that the link has no carrier; see SetCarrier.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	return &Client{cfg: cfg, wake: make(chan struct{}, 1)}
}

// SetCarrier tells the client that the link's carrier came or went. When it comes, the
// client asks at once whether its lease still holds here, or for one. It does not block
// and may be called from any goroutine, before Run too.
func (c *Client) SetCarrier(up bool) {
	if c.carrier.Swap(up) == up {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run gets a lease and keeps it until ctx ends. Apply and Drop are called from this
// goroutine. The lease is not released at the end, nor dropped: the address stays for
// the shutdown, and a reboot gets it again.
func (c *Client) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if lease := c.acquire(ctx); lease != nil {
			c.apply(lease, nil)
			c.hold(ctx, lease)
		}
	}
}

// event is why a wait ended.
type event int

const (
	evDone    event = iota // the context ended
	evTime                 // the time is over
	evCarrier              // the carrier came or went
	evPacket
)

// wait waits for a packet that ok accepts. A nil channel yields none.
func (c *Client) wait(ctx context.Context, d time.Duration, packets <-chan *dhcpv4.DHCPv4, ok func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, event) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, evDone
		case <-timer.C:
			return nil, evTime
		case <-c.wake:
			return nil, evCarrier
		case p, open := <-packets:
			if !open {
				packets = nil
			} else if ok(p) {
				return p, evPacket
			}
		}
	}
}

// sleep is wait without packets.
func (c *Client) sleep(ctx context.Context, d time.Duration) event {
	_, ev := c.wait(ctx, d, nil, nil)
	return ev
}

// acquire discovers until it has a lease; nil if ctx ends first.
func (c *Client) acquire(ctx context.Context) *Lease {
	begin, backoff, rounds, said := time.Now(), firstWait, 0, ""
	for ctx.Err() == nil {
		select {
		case <-c.wake: // what woke us is seen by this look at the carrier
		default:
		}
		if !c.carrier.Load() {
			c.sleep(ctx, Forever)
			backoff, rounds = firstWait, 0
			continue
		}
		lease, ev, err := c.discover(ctx, begin, rounds, jitter(backoff))
		if lease != nil {
			return lease
		}
		rounds++
		if err != nil && err.Error() != said && (err != errSilent || rounds >= quietRounds) {
			c.cfg.Log("DHCP: %v; still trying", err)
			said = err.Error()
		}
		if err != nil && err != errSilent {
			ev = c.sleep(ctx, jitter(backoff)) // a silent server was waited for already
		}
		backoff = min(2*backoff, lastWait)
		if ev == evCarrier {
			backoff, rounds = firstWait, 0
		}
	}
	return nil
}

// errSilent means that nobody answered in time: there is no need to wait once more.
var errSilent = errors.New("no server answers")

// discover is one round of DISCOVER, offer, REQUEST, ACK. It waits wait for an offer.
// Without a lease, the event says whether to look at the carrier or the context.
func (c *Client) discover(ctx context.Context, begin time.Time, round int, wait time.Duration) (*Lease, event, error) {
	conn, err := c.cfg.Open()
	if err != nil {
		return nil, evTime, err
	}
	defer conn.Close()
	xid := newXID()
	p := c.message(dhcpv4.MessageTypeDiscover, xid, begin)
	if round >= 2 {
		// Some networks lose unicast to an address that nobody has yet.
		p.SetBroadcast()
	}
	if err := conn.Send(p, netip.Addr{}, netip.Addr{}); err != nil {
		return nil, evTime, err
	}
	var lease *Lease
	offer, ev := c.wait(ctx, wait, conn.Packets(), func(p *dhcpv4.DHCPv4) bool {
		if !c.answers(p, xid) || p.MessageType() != dhcpv4.MessageTypeOffer {
			return false
		}
		l, err := newLease(p, time.Now())
		if err != nil || !l.Server.IsValid() {
			return false
		}
		lease = l
		return true
	})
	if ev == evTime {
		return nil, ev, errSilent
	}
	if ev != evPacket {
		return nil, ev, nil
	}
	r := c.message(dhcpv4.MessageTypeRequest, xid, begin)
	r.Flags = p.Flags
	r.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	r.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	return c.request(ctx, conn, r, lease.Server)
}

// request broadcasts r up to requests times, and returns the lease of the ACK.
// server, if valid, is the only one whose answer counts.
func (c *Client) request(ctx context.Context, conn Conn, r *dhcpv4.DHCPv4, server netip.Addr) (*Lease, event, error) {
	sent := time.Now()
	for i := range requests {
		if err := conn.Send(r, netip.Addr{}, netip.Addr{}); err != nil {
			return nil, evTime, err
		}
		lease, ev, err := c.answer(ctx, conn, r.TransactionID, server, sent, jitter(firstWait<<i))
		if ev != evTime {
			return lease, ev, err
		}
	}
	return nil, evTime, errSilent
}

// errNAK means that the server refused the address.
var errNAK = errors.New("the server refused our address (NAK)")

// answer waits d for an ACK or NAK. evPacket: the lease, or errNAK.
func (c *Client) answer(ctx context.Context, conn Conn, xid dhcpv4.TransactionID, server netip.Addr, sent time.Time, d time.Duration) (*Lease, event, error) {
	var lease *Lease
	p, ev := c.wait(ctx, d, conn.Packets(), func(p *dhcpv4.DHCPv4) bool {
		if !c.answers(p, xid) {
			return false
		}
		if id, ok := netip.AddrFromSlice(p.ServerIdentifier().To4()); server.IsValid() && (!ok || id != server) {
			return false
		}
		switch p.MessageType() {
		case dhcpv4.MessageTypeNak:
			return true
		case dhcpv4.MessageTypeAck:
			var err error
			lease, err = newLease(p, sent)
			return err == nil
		}
		return false
	})
	if ev == evPacket && p.MessageType() == dhcpv4.MessageTypeNak {
		return nil, ev, errNAK
	}
	return lease, ev, nil
}

// hold keeps a lease until it is lost, then drops it. It returns at once when ctx ends,
// and drops nothing then.
func (c *Client) hold(ctx context.Context, lease *Lease) {
	for {
		next, why := c.holdOne(ctx, lease)
		if next == nil {
			if ctx.Err() == nil {
				c.cfg.Log("DHCP: lost %s: %v", lease.Addr, why)
				c.cfg.Drop(lease)
			}
			return
		}
		c.apply(next, lease)
		lease = next
	}
}

var errExpired = errors.New("the lease has ended, and no server extended it")

// holdOne waits until lease is to be extended, and returns the one that follows it; nil
// and the reason if it is lost.
func (c *Client) holdOne(ctx context.Context, lease *Lease) (*Lease, error) {
	if lease.Expires != Forever {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, lease.Start.Add(lease.Expires), errExpired)
		defer cancel()
	}
	wait := lease.left(lease.T1)
	if lease.Expires == Forever {
		wait = Forever
	}
	ev := c.sleep(ctx, wait)
	for ctx.Err() == nil {
		var next *Lease
		var err error
		switch {
		case ev == evCarrier && !c.carrier.Load():
			// Nothing can be sent; the address stays until the lease ends.
			ev = c.sleep(ctx, Forever)
			continue
		case ev == evCarrier:
			next, ev, err = c.reboot(ctx, lease)
		default:
			next, ev, err = c.extend(ctx, lease)
		}
		if next != nil || errors.Is(err, errNAK) {
			return next, err
		}
	}
	return nil, context.Cause(ctx)
}

// reboot asks whether the lease still holds on the network the link is on now (RFC 2131
// §4.3.2, INIT-REBOOT). If nobody says anything, it looks for a new lease.
func (c *Client) reboot(ctx context.Context, lease *Lease) (*Lease, event, error) {
	conn, err := c.cfg.Open()
	if err == nil {
		r := c.message(dhcpv4.MessageTypeRequest, newXID(), time.Now())
		r.UpdateOption(dhcpv4.OptRequestedIPAddress(lease.Addr.Addr().AsSlice()))
		var next *Lease
		var ev event
		next, ev, err = c.request(ctx, conn, r, netip.Addr{})
		conn.Close()
		if next != nil || ev == evCarrier || ev == evDone || errors.Is(err, errNAK) {
			return next, ev, err
		}
	}
	c.cfg.Log("DHCP: carrier is back, but %v; keeping %s while it is valid", err, lease.Addr)
	return c.acquire(ctx), evTime, nil
}

// extend asks the lease's server (renewing, from T1), then every server (rebinding, from
// T2) to extend the lease, until one answers or ctx ends. evCarrier: the carrier changed.
func (c *Client) extend(ctx context.Context, lease *Lease) (*Lease, event, error) {
	conn, err := c.cfg.Open()
	if err != nil {
		c.cfg.Log("DHCP: %v", err)
		if ev := c.sleep(ctx, resend(lease, lease.Expires)); ev != evTime {
			return nil, ev, nil
		}
		return nil, evTime, nil
	}
	defer conn.Close()
	r := c.message(dhcpv4.MessageTypeRequest, newXID(), time.Now())
	r.ClientIPAddr = lease.Addr.Addr().AsSlice()
	told := false
	for {
		sent := time.Now()
		to, until, kind := lease.Server, lease.T2, "renew"
		if lease.left(lease.T2) == 0 || !to.IsValid() {
			to, until, kind = netip.Addr{}, lease.Expires, "rebind"
			if !told && lease.Server.IsValid() {
				told = true
				c.cfg.Log("DHCP: %s does not answer, asking every server to extend %s", lease.Server, lease.Addr)
			}
		}
		if err := conn.Send(r, lease.Addr.Addr(), to); err != nil && kind == "rebind" {
			c.cfg.Log("DHCP: %s: %v", kind, err)
		}
		next, ev, err := c.answer(ctx, conn, r.TransactionID, to, sent, resend(lease, until))
		if ev != evTime {
			return next, ev, err
		}
	}
}

// resend returns how long to wait for an answer when asking until the time until after
// the lease's start: half of what is left, but not too often.
func resend(lease *Lease, until time.Duration) time.Duration {
	left := lease.left(until)
	return min(max(left/2, min(minResend, lease.Expires/8)), max(left, time.Second))
}

// apply puts lease in place of old, which may be nil, and logs what is new.
func (c *Client) apply(lease, old *Lease) {
	if err := c.cfg.Apply(lease); err != nil {
		c.cfg.Log("DHCP: set up %s: %v", lease.Addr, err)
	}
	if old == nil || old.Addr != lease.Addr || old.Server != lease.Server {
		length := lease.Expires.String()
		if lease.Expires == Forever {
			length = "ever"
		}
		c.cfg.Log("DHCP: %s from %s for %s", lease.Addr, lease.Server, length)
	}
}

// message returns a message of that type with what every message of ours has.
func (c *Client) message(t dhcpv4.MessageType, xid dhcpv4.TransactionID, begin time.Time) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootRequest,
		HWType:        1, // Ethernet
		ClientHWAddr:  c.cfg.HWAddr,
		TransactionID: xid,
		NumSeconds:    uint16(min(time.Since(begin)/time.Second, 0xffff)),
		Options:       make(dhcpv4.Options),
	}
	p.UpdateOption(dhcpv4.OptMessageType(t))
	p.UpdateOption(dhcpv4.OptClientIdentifier(append([]byte{1}, c.cfg.HWAddr...)))
	if c.cfg.Hostname != "" {
		p.UpdateOption(dhcpv4.OptHostName(c.cfg.Hostname))
	}
	p.UpdateOption(dhcpv4.OptMaxMessageSize(1472)) // what fits in an Ethernet frame
	p.UpdateOption(dhcpv4.OptParameterRequestList(
		dhcpv4.OptionSubnetMask,
		dhcpv4.OptionClasslessStaticRoute, // before the router, says RFC 3442
		dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionDomainName,
		dhcpv4.OptionDNSDomainSearchList,
		dhcpv4.OptionInterfaceMTU,
		dhcpv4.OptionNTPServers,
		dhcpv4.OptionIPAddressLeaseTime,
		dhcpv4.OptionRenewTimeValue,
		dhcpv4.OptionRebindingTimeValue,
	))
	return p
}

// answers says whether p is a server's answer to our message xid.
func (c *Client) answers(p *dhcpv4.DHCPv4, xid dhcpv4.TransactionID) bool {
	return p.OpCode == dhcpv4.OpcodeBootReply && p.TransactionID == xid && bytes.Equal(p.ClientHWAddr, c.cfg.HWAddr)
}

// Equal says whether two leases set up a link alike; their times may differ.
func (l *Lease) Equal(o *Lease) bool {
	return l.Addr == o.Addr && l.MTU == o.MTU && slices.Equal(l.Routes, o.Routes) &&
		slices.Equal(l.DNS, o.DNS) && slices.Equal(l.Search, o.Search) && slices.Equal(l.NTP, o.NTP)
}

// String returns the lease for a log.
func (l *Lease) String() string { return fmt.Sprintf("%s from %s", l.Addr, l.Server) }

// newXID returns a random transaction id.
func newXID() (xid dhcpv4.TransactionID) {
	v := rand.Uint32()
	return dhcpv4.TransactionID{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// jitter returns d, give or take a fifth.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + time.Duration(rand.Int64N(int64(d)*2/5+1))
}
