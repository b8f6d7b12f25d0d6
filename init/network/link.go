package network

import (
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/keelson-os/keelson/config"
)

// sysNet is where the kernel shows what links there are.
const sysNet = "/sys/class/net"

// isPhysical says whether a link is an Ethernet interface with a device behind it: a
// card, an adapter, a virtual machine's NIC. veth, bridges, tunnels, dummies and
// whatever else CNI, flannel and containers make have none.
func isPhysical(link netlink.Link) bool {
	a := link.Attrs()
	if a.EncapType != "ether" || a.Flags&net.FlagLoopback != 0 || link.Type() != "device" {
		return false
	}
	_, err := os.Stat(filepath.Join(sysNet, a.Name, "device"))
	return err == nil
}

// isWireless says whether the link is Wi-Fi: without a passphrase it never has carrier,
// so it is used only when the configuration matches it.
func isWireless(name string) bool {
	_, err := os.Stat(filepath.Join(sysNet, name, "phy80211"))
	return err == nil
}

// driver returns the name of the link's kernel driver; empty if it has none.
func driver(name string) string {
	target, err := os.Readlink(filepath.Join(sysNet, name, "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// matches says whether all that m gives is true of the link.
func matches(m config.Match, link netlink.Link) bool {
	a := link.Attrs()
	if m.Name != "" {
		if ok, err := path.Match(m.Name, a.Name); err != nil || !ok {
			return false
		}
	}
	if m.MAC != "" && !strings.EqualFold(m.MAC, a.HardwareAddr.String()) && !strings.EqualFold(m.MAC, a.PermHWAddr.String()) {
		return false
	}
	if m.Driver != "" && m.Driver != driver(a.Name) {
		return false
	}
	return m != config.Match{}
}

// assignment is a link and how to set it up.
type assignment struct {
	link netlink.Link
	cfg  config.Interface
}

// assign says which of links get which configuration, by link index. The first matching
// entry wins. Members of bonds get none; parents of VLANs that nothing else configures
// are only set up.
func (m *Manager) assign(links []netlink.Link) []assignment {
	var list []assignment
	for _, link := range links {
		a := link.Attrs()
		if a.MasterIndex != 0 {
			continue
		}
		if cfg, ok := m.configFor(link); ok {
			list = append(list, assignment{link, cfg})
		}
	}
	slices.SortFunc(list, func(x, y assignment) int { return x.link.Attrs().Index - y.link.Attrs().Index })
	return list
}

func (m *Manager) configFor(link netlink.Link) (config.Interface, bool) {
	name := link.Attrs().Name
	for _, c := range m.cfg.Interfaces {
		if c.Name == name && isMade(c, link) {
			return c, true
		}
	}
	if !m.ours(link) || m.isMember(name) {
		return config.Interface{}, false
	}
	if len(m.cfg.Interfaces) == 0 {
		return config.Interface{DHCP: true, SLAAC: true}, !isWireless(name)
	}
	for _, c := range m.cfg.Interfaces {
		if c.VLAN == nil && c.Bond == nil && matches(c.Match, link) {
			return c, true
		}
	}
	return config.Interface{}, m.isParent(name)
}

// isMade says whether link is of the kind that c makes.
func isMade(c config.Interface, link netlink.Link) bool {
	return c.VLAN != nil && link.Type() == "vlan" || c.Bond != nil && link.Type() == "bond"
}

func (m *Manager) isMember(name string) bool {
	return slices.ContainsFunc(m.cfg.Interfaces, func(c config.Interface) bool {
		return c.Bond != nil && slices.Contains(c.Bond.Members, name)
	})
}

func (m *Manager) isParent(name string) bool {
	return slices.ContainsFunc(m.cfg.Interfaces, func(c config.Interface) bool {
		return c.VLAN != nil && c.VLAN.Parent == name
	})
}
