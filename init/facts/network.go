package facts

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/machine"
)

// Network lists links with their addresses, the main table's routes, and what the resolv.conf at the given path says.
func (r Roots) Network(resolv string) (machine.Network, error) {
	n := machine.Network{Hostname: r.Hostname(), Links: []machine.Link{}, Routes: []machine.Route{}}
	n.Nameservers, n.Search = parseResolv(read(resolv))
	links, err := netlink.LinkList()
	// A list that changed while it was read is whole enough to look at.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return n, fmt.Errorf("list the links: %w", os.NewSyscallError("netlink", err))
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		n.Links = append(n.Links, r.link(l))
	}
	slices.SortFunc(n.Links, func(a, b machine.Link) int { return a.Index - b.Index })
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return n, fmt.Errorf("list the routes: %w", os.NewSyscallError("netlink", err))
		}
		for _, x := range routes {
			n.Routes = append(n.Routes, route(x, names))
		}
	}
	return n, nil
}

func (r Roots) link(l netlink.Link) machine.Link {
	a := l.Attrs()
	m := machine.Link{
		Name: a.Name, Index: a.Index, Kind: l.Type(), State: a.OperState.String(), MAC: a.HardwareAddr.String(), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		Driver:    link(r.Sys, "class/net", a.Name, "device/driver"),
		SpeedMbit: int(max(0, number(r.Sys, "class/net", a.Name, "speed"))), // -1: not known
		Addresses: []string{},
	}
	if s := a.Statistics; s != nil {
		m.Received = machine.Traffic{Bytes: s.RxBytes, Packets: s.RxPackets, Errors: s.RxErrors, Dropped: s.RxDropped}
		m.Sent = machine.Traffic{Bytes: s.TxBytes, Packets: s.TxPackets, Errors: s.TxErrors, Dropped: s.TxDropped}
	}
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return m // the link has gone meanwhile
	}
	for _, x := range addresses {
		m.Addresses = append(m.Addresses, x.IPNet.String())
	}
	return m
}

func route(x netlink.Route, names map[int]string) machine.Route {
	m := machine.Route{To: "default", Link: names[x.LinkIndex], Metric: x.Priority, Origin: x.Protocol.String()}
	if x.Dst != nil {
		if ones, _ := x.Dst.Mask.Size(); ones > 0 {
			m.To = x.Dst.String()
		}
	}
	if len(x.Gw) > 0 {
		m.Via = x.Gw.String()
	}
	if len(x.Src) > 0 {
		m.From = x.Src.String()
	}
	return m
}

// parseResolv reads the lines "nameserver" and "search".
// Source: resolv.conf(5).
func parseResolv(text string) (servers, search []string) {
	servers, search = []string{}, []string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				servers = append(servers, a.String())
			}
		case "search":
			search = f[1:] // the last one counts
		}
	}
	return servers, search
}
