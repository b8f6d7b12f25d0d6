package config

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// bondModes are the kernel's names for what a bond does with its members.
var bondModes = []string{"active-backup", "802.3ad", "balance-rr", "balance-xor", "broadcast", "balance-tlb", "balance-alb"}

// reservedLinks are made by the node itself.
var reservedLinks = []string{"lo", "cni0", "flannel.1", "keelson0", "kube-ipvs0"}

// maxInterfaces bounds the list; the consistency checks below compare all pairs.
const maxInterfaces = 256

func (d *decoder) network(p string, n *yaml.Node, net *Network) {
	d.mapping(p, n, fields{
		"interfaces": func(p string, v *yaml.Node) {
			if len(v.Content) > maxInterfaces {
				d.fail(v, p, "found %d interfaces, at most %d are supported", len(v.Content), maxInterfaces)
				return
			}
			d.sequence(p, v, "interfaces", func(p string, v *yaml.Node) {
				net.Interfaces = append(net.Interfaces, d.iface(p, v))
			})
		},
		"nameservers": func(p string, v *yaml.Node) { d.addrs(p, v, &net.Nameservers) },
		"search": func(p string, v *yaml.Node) {
			d.sequence(p, v, "domain names", func(p string, v *yaml.Node) {
				if s, ok := d.textWhere(p, v, "a domain name such as home.example", func(s string) bool {
					return isSubdomain(strings.ToLower(s))
				}); ok {
					net.Search = append(net.Search, s)
				}
			})
		},
	}, func(p string, k, v *yaml.Node) bool {
		// The commonest slip: one interface's keys without the list around them.
		switch k.Value {
		case "match", "dhcp", "addresses", "gateway", "routes", "mtu", "vlan", "bond":
			d.fail(k, p, "unknown key; it belongs to an interface: write it below network.interfaces, in an item that starts with \"- match:\"")
			return true
		}
		return false
	})
}

func (d *decoder) iface(p string, n *yaml.Node) Interface {
	i := Interface{SLAAC: true}
	if isNull(n) {
		d.fail(n, p, "found nothing, expected an interface such as {match: {name: eth0}, dhcp: true}")
		return i
	}
	gateway := func(p string, v *yaml.Node) {
		if a, ok := d.addr(p, v); ok {
			i.Gateways = append(i.Gateways, a)
		}
	}
	d.mapping(p, n, fields{
		"name": func(p string, v *yaml.Node) {
			s, ok := d.textWhere(p, v, "a link name of at most 15 letters, digits, \"-\", \"_\" or \".\"", isLink)
			if ok && slices.Contains(reservedLinks, s) {
				d.fail(v, p, "the name %q is used by the node itself; choose another", s)
			} else if ok {
				i.Name = s
			}
		},
		"match": func(p string, v *yaml.Node) { d.match(p, v, &i.Match) },
		"dhcp":  func(p string, v *yaml.Node) { d.boolean(p, v, &i.DHCP) },
		"slaac": func(p string, v *yaml.Node) { d.boolean(p, v, &i.SLAAC) },
		"addresses": func(p string, v *yaml.Node) {
			d.sequence(p, v, "addresses such as 192.168.1.5/24", func(p string, v *yaml.Node) {
				a, ok := d.prefix(p, v, true)
				switch {
				case !ok:
				case slices.ContainsFunc(i.Addresses, func(o netip.Prefix) bool { return o.Addr() == a.Addr() }):
					d.fail(v, p, "the address %s is given twice; remove one", a.Addr())
				case !usable(a.Addr()):
					d.fail(v, p, "found %s, expected an address that a host can have", quote(v.Value))
				default:
					i.Addresses = append(i.Addresses, a)
				}
			})
		},
		"gateway": func(p string, v *yaml.Node) {
			if v.Kind == yaml.SequenceNode {
				d.sequence(p, v, "IP addresses", gateway)
			} else {
				gateway(p, v)
			}
		},
		"nameservers": func(p string, v *yaml.Node) { d.addrs(p, v, &i.Nameservers) },
		"routes": func(p string, v *yaml.Node) {
			d.sequence(p, v, "routes such as {to: 10.9.0.0/16, via: 192.168.1.1}", func(p string, v *yaml.Node) {
				if r, ok := d.route(p, v); ok {
					i.Routes = append(i.Routes, r)
				}
			})
		},
		"mtu": func(p string, v *yaml.Node) { d.integer(p, v, 576, 65535, &i.MTU) },
		"vlan": func(p string, v *yaml.Node) {
			i.VLAN = &VLAN{}
			d.mapping(p, v, fields{
				"id": func(p string, v *yaml.Node) { d.integer(p, v, 1, 4094, &i.VLAN.ID) },
				"parent": func(p string, v *yaml.Node) {
					i.VLAN.Parent, _ = d.textWhere(p, v, "the name of the link below", isLink)
				},
			}, nil)
			if v.Kind == yaml.MappingNode || isNull(v) {
				d.require(p, "id", "a number from 1 to 4094")
				d.require(p, "parent", "the name of the link below")
			}
		},
		"bond": func(p string, v *yaml.Node) {
			i.Bond = &Bond{Mode: bondModes[0], MIIMon: 100}
			d.bond(p, v, i.Bond)
		},
	}, nil)
	if n.Kind == yaml.MappingNode {
		d.checkIface(p, n, &i)
	}
	return i
}

// usable reports whether a link can have the address.
func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// require records a mistake when key is missing below the mapping at p.
func (d *decoder) require(p, key, expected string) {
	if !d.has(join(p, key)) {
		d.failAt(p, "the key %q is missing, expected %s", key, expected)
	}
}

func (d *decoder) match(p string, n *yaml.Node, m *Match) {
	before := len(d.errs)
	d.mapping(p, n, fields{
		"name": func(p string, v *yaml.Node) {
			m.Name, _ = d.textWhere(p, v, "a link name such as eth0, with * and ? allowed", func(s string) bool {
				return isLink(strings.NewReplacer("*", "x", "?", "x").Replace(s))
			})
		},
		"mac": func(p string, v *yaml.Node) {
			s, ok := d.textWhere(p, v, "a MAC address such as 52:54:00:12:34:56", func(s string) bool {
				a, err := net.ParseMAC(s)
				return err == nil && len(a) == 6
			})
			if a, err := net.ParseMAC(s); ok && err == nil {
				m.MAC = a.String()
			}
		},
		"driver": func(p string, v *yaml.Node) {
			m.Driver, _ = d.textWhere(p, v, "the name of a kernel driver such as e1000e", driverRE.MatchString)
		},
	}, nil)
	if *m == (Match{}) && len(d.errs) == before {
		d.fail(n, p, "found nothing to match, expected name, mac or driver")
	}
}

func (d *decoder) route(p string, n *yaml.Node) (Route, bool) {
	var r Route
	before := len(d.errs)
	d.mapping(p, n, fields{
		"to": func(p string, v *yaml.Node) {
			if v.Value == "default" {
				d.fail(v, p, "found \"default\", expected a network; a default route is the interface's gateway: use that key")
				return
			}
			r.To, _ = d.prefix(p, v, false)
		},
		"via":    func(p string, v *yaml.Node) { r.Via, _ = d.addr(p, v) },
		"metric": func(p string, v *yaml.Node) { d.integer(p, v, 0, 1<<31-1, &r.Metric) },
	}, nil)
	if n.Kind != yaml.MappingNode {
		if isNull(n) {
			d.fail(n, p, "found nothing, expected a route such as {to: 10.9.0.0/16, via: 192.168.1.1}")
		}
		return r, false
	}
	d.require(p, "to", "a network such as 10.9.0.0/16")
	d.require(p, "via", "the address of a router")
	if len(d.errs) == before && r.To.Addr().Is4() != r.Via.Is4() {
		d.failAt(p+".via", "found %s, which is not of the same address family as %s", r.Via, r.To)
	}
	return r, len(d.errs) == before
}

func (d *decoder) bond(p string, n *yaml.Node, b *Bond) {
	d.mapping(p, n, fields{
		"members": func(p string, v *yaml.Node) {
			d.sequence(p, v, "link names", func(p string, v *yaml.Node) {
				s, ok := d.textWhere(p, v, "a link name such as eth0", isLink)
				switch {
				case !ok:
				case slices.Contains(b.Members, s):
					d.fail(v, p, "%s is listed twice; remove one", s)
				default:
					b.Members = append(b.Members, s)
				}
			})
		},
		"mode": func(p string, v *yaml.Node) {
			if s, ok := d.oneOf(p, v, bondModes...); ok {
				b.Mode = s
			}
		},
		"primary": func(p string, v *yaml.Node) {
			b.Primary, _ = d.textWhere(p, v, "the name of one of the members", isLink)
		},
		"miimon": func(p string, v *yaml.Node) { d.integer(p, v, 0, 60000, &b.MIIMon) },
	}, nil)
	if n.Kind != yaml.MappingNode && !isNull(n) {
		return
	}
	if v := d.values[p+".members"]; v == nil || (v.Kind == yaml.SequenceNode && len(v.Content) == 0) || isNull(v) {
		d.failAt(p, "a bond needs at least one link in \"members\"")
	}
	if b.Primary == "" {
		return
	}
	if !slices.Contains(b.Members, b.Primary) {
		d.failAt(p+".primary", "found %q, expected one of the members (%s)", b.Primary, list(b.Members))
	}
	if !slices.Contains([]string{"active-backup", "balance-tlb", "balance-alb"}, b.Mode) {
		d.failAt(p+".primary", "the mode %s has no primary; remove the key or use active-backup, balance-tlb or balance-alb", b.Mode)
	}
}

// checkIface finds combinations inside one interface that cannot be meant, and fills in
// DHCP where nothing else was said.
func (d *decoder) checkIface(p string, n *yaml.Node, i *Interface) {
	kinds := 0
	for _, k := range []string{"match", "vlan", "bond"} {
		if d.has(join(p, k)) {
			kinds++
		}
	}
	switch made := d.has(p+".vlan") || d.has(p+".bond"); {
	case kinds == 0 && d.has(p+".name"):
		d.failAt(p+".name", "only a VLAN or a bond has a name; to configure the link %q write match: {name: %s}", i.Name, i.Name)
	case kinds == 0:
		d.fail(n, p, "expected one of the keys match (an existing link), vlan or bond (a link to make)")
	case kinds > 1:
		d.fail(n, p, "match, vlan and bond exclude each other; make one interface of each")
	case made && !d.has(p+".name"):
		d.fail(n, p, "the key \"name\" is missing, expected the name of the link to make, at most 15 characters")
	case !made && d.has(p+".name"):
		d.failAt(p+".name", "only a VLAN or a bond has a name; an existing link keeps its own: remove the key")
	}
	if !d.has(p+".dhcp") && !d.has(p+".addresses") {
		i.DHCP = true
	}
	seen := map[bool]netip.Addr{}
	for k, g := range i.Gateways {
		gp := p + ".gateway"
		if v := d.values[gp]; v != nil && v.Kind == yaml.SequenceNode {
			gp = fmt.Sprintf("%s[%d]", gp, k)
		}
		if first, dup := seen[g.Is4()]; dup {
			d.failAt(gp, "found a second gateway %s besides %s, expected at most one for IPv4 and one for IPv6", g, first)
			continue
		}
		seen[g.Is4()] = g
		if g.IsLinkLocalUnicast() && g.Is6() {
			continue
		}
		same := func(a netip.Prefix) bool { return a.Addr() == g }
		if slices.ContainsFunc(i.Addresses, same) {
			d.failAt(gp, "found %s, which is this interface's own address, expected the address of a router", g)
			continue
		}
		reachable := func(a netip.Prefix) bool { return a.Contains(g) }
		if !slices.ContainsFunc(i.Addresses, reachable) && !(i.DHCP && g.Is4()) && !(i.SLAAC && g.Is6()) {
			d.failAt(gp, "found %s, which is in none of this interface's networks (addresses); correct one of the two", g)
		}
	}
}

// checkLinks finds contradictions between interfaces: names used twice, links that are
// part of two others, parents that do not exist, cycles.
func (d *decoder) checkLinks(ifs []Interface) {
	at := func(k int, rest string) string { return fmt.Sprintf("network.interfaces[%d]%s", k, rest) }
	made := map[string]int{}          // name of a VLAN or bond → index
	owner := map[string]int{}         // bond member → index of its bond
	known := func(link string) bool { // is link made here or matched by an interface
		if _, ok := made[link]; ok {
			return true
		}
		for _, i := range ifs {
			if i.VLAN != nil || i.Bond != nil || i.Match == (Match{}) {
				continue
			}
			if i.Match.Name == "" {
				return true // found by MAC or driver: its name is known only on the node
			}
			if ok, _ := path.Match(i.Match.Name, link); ok {
				return true
			}
		}
		return false
	}
	matches, vlans := map[Match]int{}, map[VLAN]int{}
	addresses := map[netip.Addr]int{}
	for k, i := range ifs {
		for n, a := range i.Addresses {
			if first, dup := addresses[a.Addr()]; dup {
				d.failAt(at(k, fmt.Sprintf(".addresses[%d]", n)), "the address %s is also given to %s", a.Addr(), at(first, ""))
			} else {
				addresses[a.Addr()] = k
			}
		}
		if i.Name != "" {
			if first, dup := made[i.Name]; dup {
				d.failAt(at(k, ".name"), "the name %q is already used by %s; choose another", i.Name, at(first, ""))
			} else {
				made[i.Name] = k
			}
		}
		if i.Match != (Match{}) {
			if first, dup := matches[i.Match]; dup {
				d.failAt(at(k, ".match"), "matches the same link as %s; put both in one item", at(first, ""))
			} else {
				matches[i.Match] = k
			}
		}
		if i.VLAN != nil && i.VLAN.ID != 0 && i.VLAN.Parent != "" {
			if first, dup := vlans[*i.VLAN]; dup {
				d.failAt(at(k, ".vlan"), "VLAN %d on %s is already made by %s", i.VLAN.ID, i.VLAN.Parent, at(first, ""))
			} else {
				vlans[*i.VLAN] = k
			}
		}
	}
	for k, i := range ifs {
		if i.VLAN != nil && i.VLAN.Parent != "" && !known(i.VLAN.Parent) {
			d.failAt(at(k, ".vlan.parent"), "there is no interface %q in network.interfaces; add one, for example {match: {name: %s}, dhcp: false}", i.VLAN.Parent, i.VLAN.Parent)
		}
		if i.Bond == nil {
			continue
		}
		for m, name := range i.Bond.Members {
			p := at(k, fmt.Sprintf(".bond.members[%d]", m))
			if first, dup := owner[name]; dup {
				d.failAt(p, "%s is already a member of %s; a link can be in one bond only", name, at(first, ""))
				continue
			}
			owner[name] = k
			if j, ok := made[name]; ok && ifs[j].Bond != nil && j != k {
				d.failAt(p, "%s is a bond itself; a bond's members are physical links or VLANs", name)
			}
		}
	}
	for k := range ifs {
		i := &ifs[k]
		names := []string{i.Name}
		if i.Name == "" {
			names[0] = i.Match.Name
		}
		bond, member := owner[names[0]]
		if names[0] == "" || !member {
			continue
		}
		if bond == k {
			d.failAt(at(k, ".bond.members"), "the bond %q is a member of itself", names[0])
			continue
		}
		for _, key := range []string{"dhcp", "addresses", "gateway", "routes", "nameservers"} {
			if v := d.values[at(k, "."+key)]; v != nil && !(key == "dhcp" && !i.DHCP) {
				d.failAt(at(k, "."+key), "%s is a member of the bond %s, which carries the addresses; move the key to %s", names[0], at(bond, ""), at(bond, ""))
			}
		}
		i.DHCP, i.SLAAC = false, false
	}
	d.checkCycles(ifs, made)
}

// checkCycles refuses links that stand, through parents and members, on themselves.
func (d *decoder) checkCycles(ifs []Interface, made map[string]int) {
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(ifs))
	var visit func(k int, trail []string)
	visit = func(k int, trail []string) {
		if state[k] != unseen {
			return
		}
		state[k] = open
		trail = append(trail, ifs[k].Name)
		var below []string
		if v := ifs[k].VLAN; v != nil {
			below = append(below, v.Parent)
		}
		if b := ifs[k].Bond; b != nil {
			below = append(below, b.Members...)
		}
		for _, name := range below {
			j, ok := made[name]
			if !ok || (j == k && ifs[k].Bond != nil) { // a bond in itself has its own text
				continue
			}
			if state[j] == open {
				from := slices.Index(trail, name)
				d.failAt(fmt.Sprintf("network.interfaces[%d]", k), "the links stand on each other in a circle: %s", strings.Join(append(slices.Clone(trail[from:]), name), " on "))
				continue
			}
			visit(j, trail)
		}
		state[k] = done
	}
	for k, i := range ifs {
		if i.Name != "" {
			visit(k, nil)
		}
	}
}
