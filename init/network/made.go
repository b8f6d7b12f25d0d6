package network

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/keelson-os/keelson/config"
)

// makeLinks makes the VLANs and bonds that can be made now, those on top of others last,
// gives bonds their members, and returns all links. The links are those of the last
// look, even with an error.
func (m *Manager) makeLinks() ([]netlink.Link, error) {
	var errs []error
	// Each round makes at least one link or is the last; one link cannot be made twice.
	for range len(m.cfg.Interfaces) + 1 {
		links, err := listLinks()
		if err != nil {
			return nil, err
		}
		byName := make(map[string]netlink.Link, len(links))
		for _, l := range links {
			byName[l.Attrs().Name] = l
		}
		errs = nil
		made := false
		for _, c := range m.cfg.Interfaces {
			did, err := m.makeLink(c, byName)
			if err != nil {
				errs = append(errs, err)
			}
			made = made || did
		}
		if !made {
			return links, errors.Join(errs...)
		}
	}
	links, err := listLinks()
	return links, errors.Join(append(errs, err)...)
}

// listLinks lists all links. A dump that changed in the middle is taken again.
func listLinks() ([]netlink.Link, error) {
	var links []netlink.Link
	var err error
	for range 5 {
		links, err = netlink.LinkList()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// makeLink makes c's link, or gives it a member, if what it needs is there and it has not
// got it yet; did says whether anything changed.
func (m *Manager) makeLink(c config.Interface, links map[string]netlink.Link) (did bool, err error) {
	if c.VLAN == nil && c.Bond == nil {
		return false, nil
	}
	link, exists := links[c.Name]
	if exists && !isMade(c, link) {
		return false, fmt.Errorf("%s: a link of that name is there, of kind %s; give another name", c.Name, link.Type())
	}
	if c.VLAN != nil {
		parent, ok := links[c.VLAN.Parent]
		if exists || !ok {
			return false, nil
		}
		return m.makeVLAN(c, parent)
	}
	if !exists {
		return m.makeBond(c)
	}
	for _, name := range c.Bond.Members {
		member, ok := links[name]
		if !ok || member.Attrs().MasterIndex == link.Attrs().Index {
			continue
		}
		if err := m.enslave(c, link, member); err != nil {
			return did, err
		}
		did = true
	}
	return did, nil
}

func (m *Manager) makeVLAN(c config.Interface, parent netlink.Link) (bool, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = c.Name, parent.Attrs().Index
	if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: c.VLAN.ID}); err != nil {
		return false, fmt.Errorf("%s: make VLAN %d on %s: %w", c.Name, c.VLAN.ID, c.VLAN.Parent, err)
	}
	m.log("%s: made VLAN %d on %s", c.Name, c.VLAN.ID, c.VLAN.Parent)
	return true, nil
}

func (m *Manager) makeBond(c config.Interface) (bool, error) {
	mode := c.Bond.Mode
	if mode == "" {
		mode = "active-backup"
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.Name
	bond := netlink.NewLinkBond(attrs)
	bond.Mode = netlink.StringToBondMode(mode)
	if bond.Mode == netlink.BOND_MODE_UNKNOWN {
		return false, fmt.Errorf("%s: bond mode %q is not known", c.Name, mode)
	}
	bond.Miimon = 100
	if c.Bond.MIIMon > 0 {
		bond.Miimon = c.Bond.MIIMon
	}
	if err := netlink.LinkAdd(bond); err != nil {
		return false, fmt.Errorf("%s: make bond, mode %s: %w", c.Name, mode, err)
	}
	m.log("%s: made bond, mode %s", c.Name, mode)
	return true, nil
}

// enslave makes member a member of bond. The kernel takes it only while it is down, and
// sets it up itself.
func (m *Manager) enslave(c config.Interface, bond, member netlink.Link) error {
	name := member.Attrs().Name
	if !m.ours(member) && member.Type() != "vlan" {
		return fmt.Errorf("%s: bond member %s: not a physical link", c.Name, name)
	}
	if member.Attrs().Flags&net.FlagUp != 0 {
		if err := netlink.LinkSetDown(member); err != nil {
			return fmt.Errorf("%s: set bond member %s down: %w", c.Name, name, err)
		}
	}
	if err := netlink.LinkSetMaster(member, bond); err != nil {
		return fmt.Errorf("%s: add bond member %s: %w", c.Name, name, err)
	}
	m.log("%s: added bond member %s", c.Name, name)
	if c.Bond.Primary != name {
		return nil
	}
	// Nothing but its index: the bond's other attributes are those from before it had members,
	// and the kernel refuses limits that a member cannot keep.
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = bond.Attrs().Name, bond.Attrs().Index
	change := netlink.NewLinkBond(attrs)
	change.Primary = member.Attrs().Index
	if err := netlink.LinkModify(change); err != nil {
		// The bond works without; this is not worth trying again.
		m.log("%s: make %s the primary bond member: %v", c.Name, name, err)
	}
	return nil
}
