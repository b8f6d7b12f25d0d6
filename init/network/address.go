package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/network/dhcp"
)

// route is one route of a link, as we compare them.
type route struct {
	to     netip.Prefix
	via    netip.Addr // zero value: on the link itself
	src    netip.Addr // preferred source; zero value: the kernel chooses
	metric int
}

// applyStatic puts the configured addresses and routes on the link. It may be called again.
func (p *port) applyStatic() error {
	var errs []error
	var routes []route
	for _, a := range p.cfg.Addresses {
		if err := p.setAddress(a, 0); err != nil {
			errs = append(errs, err)
			continue
		}
		if a.Addr().Is4() && a.Bits() < 32 {
			routes = append(routes, route{to: a.Masked(), src: a.Addr(), metric: metric(p)})
		}
	}
	for _, gw := range p.cfg.Gateways {
		routes = append(routes, route{to: everywhere(gw), via: gw, metric: metric(p)})
	}
	for _, r := range p.cfg.Routes {
		m := r.Metric
		if m == 0 {
			m = metric(p)
		}
		routes = append(routes, route{to: r.To.Masked(), via: r.Via, metric: m})
	}
	if len(routes) > 0 {
		errs = append(errs, p.setRoutes(routes, unix.RTPROT_STATIC, p.cfg.Addresses))
	}
	return errors.Join(errs...)
}

// applyLease puts a lease's address, routes and MTU on the link, and takes away routes of
// an earlier one. It may be called again.
func (p *port) applyLease(l *dhcp.Lease) error {
	if err := p.setAddress(l.Addr, l.Left()); err != nil {
		return err
	}
	src := l.Addr.Addr()
	var routes []route
	if l.Addr.Bits() < 32 {
		routes = append(routes, route{to: l.Addr.Masked(), src: src, metric: metric(p)})
	}
	for _, r := range l.Routes {
		if r.To.Bits() == 0 && slices.ContainsFunc(p.cfg.Gateways, netip.Addr.Is4) {
			continue // the configured gateway is the one
		}
		routes = append(routes, route{to: r.To, via: r.Via, src: src, metric: metric(p)})
	}
	var errs []error
	if l.MTU != 0 && p.cfg.MTU == 0 && p.link.Attrs().MTU != l.MTU {
		if err := netlink.LinkSetMTU(p.link, l.MTU); err != nil {
			errs = append(errs, fmt.Errorf("set MTU %d: %w", l.MTU, err))
		}
	}
	return errors.Join(append(errs, p.setRoutes(routes, unix.RTPROT_DHCP, []netip.Prefix{l.Addr}))...)
}

// removeLease takes a lease's routes and address away.
func (p *port) removeLease(l *dhcp.Lease) error {
	err := p.setRoutes(nil, unix.RTPROT_DHCP, nil)
	if derr := netlink.AddrDel(p.link, &netlink.Addr{IPNet: ipNet(l.Addr)}); derr != nil && !gone(derr) {
		err = errors.Join(err, fmt.Errorf("remove address %s: %w", l.Addr, derr))
	}
	return err
}

// setAddress puts an address on the link, for as long as valid says; 0 and dhcp.Forever:
// for ever. The kernel drops it then, should we not.
func (p *port) setAddress(a netip.Prefix, valid time.Duration) error {
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is4() {
		// The kernel's own route to the subnet has no metric: of two links in one subnet,
		// the first would take all, with or without carrier. So we make it ourselves.
		addr.Flags = unix.IFA_F_NOPREFIXROUTE
	}
	if valid != 0 && valid != dhcp.Forever {
		addr.ValidLft = int(valid/time.Second) + 1
		addr.PreferedLft = addr.ValidLft
	}
	if err := netlink.AddrReplace(p.link, addr); err != nil {
		return fmt.Errorf("set address %s: %w", a, err)
	}
	return nil
}

// setRoutes makes routes the link's only ones of that protocol. A gateway outside onLink
// is taken to be on the link all the same, as some providers want it. Routes to a
// gateway are made last: they need the others.
func (p *port) setRoutes(routes []route, protocol int, onLink []netip.Prefix) error {
	filter := &netlink.Route{LinkIndex: p.index, Protocol: netlink.RouteProtocol(protocol)}
	old, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b route) int { return rank(a) - rank(b) })
	var errs []error
	for _, r := range routes {
		n := &netlink.Route{LinkIndex: p.index, Dst: ipNet(r.to), Protocol: netlink.RouteProtocol(protocol), Priority: r.metric}
		if r.src.IsValid() {
			n.Src = r.src.AsSlice()
		}
		if r.via.IsValid() {
			n.Gw = r.via.AsSlice()
			if r.via.Is4() && !slices.ContainsFunc(onLink, func(a netip.Prefix) bool { return a.Contains(r.via) }) {
				n.Flags = int(netlink.FLAG_ONLINK)
			}
		} else if r.to.Addr().Is4() {
			n.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(n); err != nil {
			errs = append(errs, fmt.Errorf("route to %s via %s: %w", r.to, r.via, err))
		}
	}
	for _, o := range old {
		if slices.ContainsFunc(routes, func(r route) bool { return sameRoute(r, o) }) {
			continue
		}
		if err := netlink.RouteDel(&o); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove route %s: %w", o.Dst, err))
		}
	}
	return errors.Join(errs...)
}

// rank orders routes: those on the link first, then narrow ones, the default route last.
func rank(r route) int {
	if !r.via.IsValid() {
		return 0
	}
	return 1 + 128 - r.to.Bits()
}

// sameRoute says whether making r replaced or left o, so that o must not be deleted.
// The kernel knows a route by destination and metric.
func sameRoute(r route, o netlink.Route) bool {
	to := everywhere(r.to.Addr())
	if o.Dst != nil {
		addr, _ := netip.AddrFromSlice(o.Dst.IP)
		ones, _ := o.Dst.Mask.Size()
		to = netip.PrefixFrom(addr.Unmap(), ones)
	}
	return to == r.to && o.Priority == r.metric
}

// gone says whether a deletion failed because there was nothing to delete.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

// everywhere returns the prefix of length 0 of a's family.
func everywhere(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
