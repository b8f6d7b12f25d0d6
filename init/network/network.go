package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
)

const (
	// settle is how long the loop waits for more changes before it looks at the links:
	// starting a pod makes a burst of them.
	settle = 100 * time.Millisecond
	// retryAfter is when something that failed is tried again, if no change comes first.
	retryAfter = 10 * time.Second
	// carrierTime is how long a link may take from being set up to carrier; autonegotiation
	// of a gigabit link takes one to three seconds.
	carrierTime = 3 * time.Second
)

// Manager keeps the links as configured. All methods may be called from any goroutine.
type Manager struct {
	cfg    config.Network
	log    func(format string, args ...any)
	ours   func(netlink.Link) bool // may we use this link, that is not of our making?
	resolv *resolvFile
	wake   chan struct{} // capacity 1: look at the links again
	begin  time.Time
	done   chan struct{} // closed when all goroutines have ended

	// loopErrors holds what was last logged per link; the loop's alone.
	loopErrors map[string]string

	mu      sync.Mutex
	ports   map[int]*port  // the links that we set up, by index
	learned map[int]*raDNS // name servers from router advertisements, by link index
	looked  bool           // the links were looked at once
	changed chan struct{}  // closed and replaced when any of the above changes
}

// Start sets up the loopback, then all links in the background, until ctx ends. Links
// keep their addresses then: a shutdown may still need the network. The name servers
// found go to config.ResolvFile, which exists when Start returns. The host name must be
// set before: DHCP sends it.
//
// It returns an error only if the kernel's link events cannot be had; what goes wrong on
// one link is logged, one line per change, and tried again.
func Start(ctx context.Context, cfg config.Network, log func(format string, args ...any)) (*Manager, error) {
	return start(ctx, cfg, log, config.ResolvFile, isPhysical)
}

func start(ctx context.Context, cfg config.Network, log func(format string, args ...any), resolv string, ours func(netlink.Link) bool) (*Manager, error) {
	m := &Manager{
		cfg:        cfg,
		log:        func(format string, args ...any) { log("network: "+format, args...) },
		ours:       ours,
		resolv:     &resolvFile{path: resolv},
		wake:       make(chan struct{}, 1),
		begin:      time.Now(),
		done:       make(chan struct{}),
		loopErrors: make(map[string]string),
		ports:      make(map[int]*port),
		learned:    make(map[int]*raDNS),
		changed:    make(chan struct{}),
	}
	events, err := subscribe()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.writeResolv()
	m.mu.Unlock()
	if lo, err := netlink.LinkByName("lo"); err != nil {
		m.log("loopback: %v", err)
	} else if err := netlink.LinkSetUp(lo); err != nil {
		m.log("loopback: set up: %v", err)
	}
	go m.run(ctx, events)
	return m, nil
}

// run is the loop that owns the links.
func (m *Manager) run(ctx context.Context, events *eventSocket) {
	defer close(m.done)
	var reader sync.WaitGroup
	reader.Go(func() { m.receive(ctx, events) })
	defer reader.Wait()
	defer events.Close()
	defer m.stopAll()
	for {
		next := m.reconcile(ctx)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-m.wake:
			timer.Stop()
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
			select { // what came in the meantime is seen by this look
			case <-m.wake:
			default:
			}
		}
	}
}

// poke makes the loop look at the links.
func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// notify wakes those who wait for m.changed. m.mu must be held.
func (m *Manager) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// reconcile looks at all links and makes what is missing. It returns after what time to
// look again even if no change is reported.
func (m *Manager) reconcile(ctx context.Context) time.Duration {
	next := 24 * time.Hour
	links, err := m.makeLinks()
	if err != nil {
		m.say("", err)
		next = retryAfter
	} else {
		m.say("", nil)
	}
	wanted := m.assign(links)
	m.stopGone(wanted)
	for _, w := range wanted {
		err := m.setUp(ctx, w.link, w.cfg, len(wanted) > 1)
		if err != nil {
			next = retryAfter
		}
		m.say(w.link.Attrs().Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if until, any := m.expireLearned(time.Now()); any {
		next = min(next, until)
	}
	m.writeResolv()
	m.looked = true
	m.notify()
	return next
}

// say logs err for a link, once until it changes.
func (m *Manager) say(link string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != m.loopErrors[link] {
		if link != "" {
			m.log("%s: %s; trying again", link, text)
		} else {
			m.log("%s; trying again", text)
		}
	}
	m.loopErrors[link] = text
}

// stopGone ends the ports whose link is gone or not ours any more.
func (m *Manager) stopGone(wanted []assignment) {
	m.mu.Lock()
	var gone []*port
	for index, p := range m.ports {
		if !slices.ContainsFunc(wanted, func(w assignment) bool { return w.link.Attrs().Index == index }) {
			gone = append(gone, p)
			delete(m.ports, index)
			delete(m.learned, index)
		}
	}
	m.mu.Unlock()
	for _, p := range gone {
		p.stop()
		delete(m.loopErrors, p.name)
		m.log("%s: link is gone", p.name)
	}
}

// stopAll ends every port's DHCP client.
func (m *Manager) stopAll() {
	m.mu.Lock()
	ports := sortedPorts(m.ports)
	m.mu.Unlock()
	for _, p := range ports {
		p.stop()
	}
}

// Wait returns as soon as any link has an address, or there is nothing to wait for: 3 s
// after Start no link or no carrier, or nothing configured that gives an address; at the
// latest when ctx ends. On a network with IPv6 router advertisements and a silent DHCP
// server, an IPv6 address is enough after those 3 s. summary is one line for the boot table.
func (m *Manager) Wait(ctx context.Context) (summary string) {
	for {
		m.mu.Lock()
		summary, done := m.status()
		changed := m.changed
		m.mu.Unlock()
		if done {
			return summary
		}
		// IPv6 addresses and the 3 s are not announced on changed.
		timer := time.NewTimer(carrierTime / 10)
		select {
		case <-ctx.Done():
			timer.Stop()
			return summary
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// status says what there is, in one line, and whether there is nothing to wait for.
// m.mu must be held.
func (m *Manager) status() (summary string, done bool) {
	if !m.looked {
		return "links not looked at yet", false
	}
	settled := time.Since(m.begin) >= carrierTime
	var have, carrier, none []string
	waiting := false // for DHCP or a router advertisement
	for _, p := range sortedPorts(m.ports) {
		addrs := p.addresses(settled)
		switch {
		case len(addrs) > 0:
			have = append(have, p.name+" "+strings.Join(addrs, ", "))
		case p.carrier:
			carrier = append(carrier, p.name)
			waiting = waiting || p.cfg.DHCP || p.cfg.SLAAC
		default:
			none = append(none, p.name)
		}
	}
	switch {
	case len(have) > 0:
		return strings.Join(have, "; "), true
	case len(m.ports) == 0:
		return "no link to set up", settled
	case len(carrier) == 0:
		return "no carrier on " + strings.Join(none, ", "), settled
	case waiting:
		return "no address yet on " + strings.Join(carrier, ", "), false
	default:
		return "no address configured on " + strings.Join(carrier, ", "), settled
	}
}

// dhcpNote marks an address of DHCP in the boot table.
const dhcpNote = " (DHCP)"

// addresses lists the port's addresses for the boot table; with slaac, those of IPv6
// autoconfiguration too.
func (p *port) addresses(slaac bool) []string {
	var list []string
	if p.static {
		for _, a := range p.cfg.Addresses {
			list = append(list, a.String())
		}
	}
	if p.lease != nil {
		list = append(list, p.lease.Addr.String()+dhcpNote)
	}
	if !slaac || !p.cfg.SLAAC || len(list) > 0 {
		return list
	}
	addrs, err := netlink.AddrList(p.link, netlink.FAMILY_V6)
	if err != nil {
		return list
	}
	for _, a := range addrs {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			list = append(list, a.IPNet.String())
		}
	}
	return list
}

// NTPServers returns the NTP servers that DHCP named, by link order; give it to
// clock.Servers.
func (m *Manager) NTPServers() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []netip.Addr
	for _, p := range sortedPorts(m.ports) {
		if p.lease == nil {
			continue
		}
		for _, a := range p.lease.NTP {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

// sortedPorts returns the ports by link index: the order in which the kernel found them.
func sortedPorts(ports map[int]*port) []*port {
	list := make([]*port, 0, len(ports))
	for _, p := range ports {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *port) int { return a.index - b.index })
	return list
}

// setSysctl writes value to /proc/sys/net/<family>/conf/<link>/<key>. A family or key that
// the kernel does not have is no error.
func setSysctl(family, link, key, value string) error {
	path := "/proc/sys/net/" + family + "/conf/" + link + "/" + key
	err := os.WriteFile(path, []byte(value), 0)
	if err == nil || os.IsNotExist(err) {
		return nil
	}
	return fmt.Errorf("set to %q: %w", value, err)
}
