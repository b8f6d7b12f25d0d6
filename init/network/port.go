package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/network/dhcp"
)

// port is a link that we set up. Its fields are guarded by Manager.mu; the loop alone
// writes all but lease.
type port struct {
	index   int
	name    string
	link    netlink.Link // as last looked at
	mac     net.HardwareAddr
	cfg     config.Interface
	carrier bool
	static  bool // what the configuration gives is on the link
	lease   *dhcp.Lease

	client *dhcp.Client // nil: none
	cancel context.CancelFunc
	ended  chan struct{} // closed when the client has ended
}

// stop ends the DHCP client, if any, and waits for it. Manager.mu must not be held.
func (p *port) stop() {
	if p.client == nil {
		return
	}
	p.cancel()
	<-p.ended
	p.client = nil
}

// setUp brings a link to what cfg wants: a new one from the beginning, a known one where
// it differs. several says that there are other links.
func (m *Manager) setUp(ctx context.Context, link netlink.Link, cfg config.Interface, several bool) error {
	a := link.Attrs()
	m.mu.Lock()
	p := m.ports[a.Index]
	m.mu.Unlock()
	if p != nil && p.name != a.Name {
		p.stop() // renamed: sysctls and sockets go by name
		p = nil
	}
	if p == nil {
		p = &port{index: a.Index, name: a.Name, cfg: cfg}
		if err := setSysctls(p, metric(p)); err != nil {
			m.log("%s: %v", p.name, err)
		}
	}
	if several {
		// With a second way out, a route without carrier is no way.
		if err := errors.Join(
			setSysctl("ipv4", p.name, "ignore_routes_with_linkdown", "1"),
			setSysctl("ipv6", p.name, "ignore_routes_with_linkdown", "1")); err != nil {
			m.log("%s: %v", p.name, err)
		}
	}
	var errs []error
	if cfg.MTU != 0 && a.MTU != cfg.MTU {
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			errs = append(errs, fmt.Errorf("set MTU %d: %w", cfg.MTU, err))
		}
	}
	isUp := a.Flags&net.FlagUp != 0
	if !isUp {
		if err := netlink.LinkSetUp(link); err != nil {
			return errors.Join(append(errs, fmt.Errorf("set link up: %w", err))...)
		}
	}
	m.mu.Lock()
	carrier := a.RawFlags&unix.IFF_RUNNING != 0
	if m.ports[a.Index] == p && carrier != p.carrier && isUp {
		if carrier {
			m.log("%s: carrier", p.name)
		} else {
			m.log("%s: no carrier", p.name)
		}
	}
	m.ports[a.Index] = p
	p.link, p.carrier = link, carrier
	if !p.static || !isUp {
		// A link that was down has lost its routes.
		err := p.applyStatic()
		p.static = err == nil
		errs = append(errs, err)
		if p.lease != nil {
			errs = append(errs, p.applyLease(p.lease))
		}
	}
	m.mu.Unlock()

	if !cfg.DHCP || len(a.HardwareAddr) != 6 {
		return errors.Join(errs...)
	}
	if p.client != nil && !bytes.Equal(p.mac, a.HardwareAddr) {
		p.stop() // a bond took its first member's address
	}
	if p.client == nil {
		m.startDHCP(ctx, p, a.HardwareAddr)
	}
	p.client.SetCarrier(carrier)
	return errors.Join(errs...)
}

// startDHCP starts p's client for the hardware address mac.
func (m *Manager) startDHCP(ctx context.Context, p *port, mac net.HardwareAddr) {
	p.mac = bytes.Clone(mac)
	hostname, _ := os.Hostname() // unset: not sent
	if !dhcp.ValidDomain(hostname) {
		hostname = ""
	}
	client := dhcp.New(dhcp.Config{
		HWAddr:   p.mac,
		Hostname: hostname,
		Open:     func() (dhcp.Conn, error) { return dhcp.OpenSocket(p.index, p.name) },
		Apply:    func(l *dhcp.Lease) error { return m.gotLease(p, l) },
		Drop:     func(l *dhcp.Lease) { m.lostLease(p, l) },
		Log:      func(format string, args ...any) { m.log(p.name+": "+format, args...) },
	})
	ctx, p.cancel = context.WithCancel(ctx)
	ended := make(chan struct{})
	p.client, p.ended = client, ended
	go func() {
		defer close(ended)
		client.Run(ctx)
	}()
}

// gotLease puts a new or renewed lease on the link.
func (m *Manager) gotLease(p *port, l *dhcp.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := p.lease
	var errs []error
	if old != nil && old.Addr != l.Addr {
		// First away with the old one: the kernel deletes a subnet's other addresses
		// along with the first.
		errs = append(errs, p.removeLease(old))
	}
	p.lease = l
	errs = append(errs, p.applyLease(l))
	m.writeResolv()
	m.notify()
	return errors.Join(errs...)
}

// lostLease takes a lease off the link.
func (m *Manager) lostLease(p *port, l *dhcp.Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.lease = nil
	if err := p.removeLease(l); err != nil {
		m.log("%s: remove %s: %v", p.name, l.Addr, err)
	}
	m.writeResolv()
	m.notify()
}

// metric is the metric of the link's routes: lower is preferred, and no two links have
// the same.
func metric(p *port) int { return 100 + p.index }

// setSysctls sets what must be set before the link is up: the kernel asks for router
// advertisements then.
func setSysctls(p *port, metric int) error {
	ra := "0"
	if p.cfg.SLAAC {
		ra = "2" // even though we forward, for pods
	}
	return errors.Join(
		setSysctl("ipv4", p.name, "promote_secondaries", "1"),
		setSysctl("ipv6", p.name, "accept_ra", ra),
		setSysctl("ipv6", p.name, "ra_defrtr_metric", strconv.Itoa(metric)),
	)
}
