package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// PortRange is First to Last, both included.
type PortRange struct{ First, Last int }

// String is k3s's form: "30000-32767".
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Contains reports whether port is in the range.
func (r PortRange) Contains(port int) bool { return r.First <= port && port <= r.Last }

// ownAddress reads an IPv4 address that the node can have, or a list of one.
func (d *decoder) ownAddress(p string, v *yaml.Node) (netip.Addr, bool) {
	if v = d.single(p, v); v == nil {
		return netip.Addr{}, false
	}
	a, ok := d.addr(p, v)
	switch {
	case !ok:
		return a, false
	case a.Is6():
		d.fail(v, p, "found %s, expected an IPv4 address; this version supports IPv4 clusters only", d.found(v))
	case a.IsLoopback():
		d.fail(v, p, "found %s, the loopback address: pods and other machines would not reach it; expected an address of the node such as 192.168.1.5", d.found(v))
	case !a.IsGlobalUnicast():
		d.fail(v, p, "found %s, expected an address of the node such as 192.168.1.5", d.found(v))
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// addressKeys are the keys that name addresses and ports of the node.
func (d *decoder) addressKeys(known fields, c *Cluster) {
	known["node-ip"] = func(p string, v *yaml.Node) { c.NodeIP, _ = d.ownAddress(p, v) }
	known["advertise-address"] = func(p string, v *yaml.Node) { c.AdvertiseAddress, _ = d.ownAddress(p, v) }
	known["advertise-port"] = func(p string, v *yaml.Node) { d.integer(p, v, 1, 65535, &c.AdvertisePort) }
	known["bind-address"] = func(p string, v *yaml.Node) {
		if v.Kind == yaml.ScalarNode && (v.Value == "0.0.0.0" || v.Value == "::") {
			return // every address is the default
		}
		c.BindAddress, _ = d.ownAddress(p, v)
	}
	known["service-node-port-range"] = func(p string, v *yaml.Node) {
		const expected = "a range of ports such as 30000-32767"
		s, ok := d.text(p, v, expected)
		if !ok {
			return
		}
		low, high, cut := strings.Cut(s, "-")
		first, err1 := strconv.Atoi(strings.TrimSpace(low))
		last, err2 := strconv.Atoi(strings.TrimSpace(high))
		switch {
		case !cut || err1 != nil || err2 != nil:
			d.fail(v, p, "found %s, expected %s", d.found(v), expected)
		case first < 1 || last > 65535 || first > last:
			d.fail(v, p, "found %s, expected two ports from 1 to 65535, the lower first", d.found(v))
		default:
			c.NodePorts = PortRange{first, last}
		}
	}
}

// fileKeys are the keys that name files and folders of the node.
func (d *decoder) fileKeys(known fields, c *Cluster) {
	known["default-local-storage-path"] = func(p string, v *yaml.Node) {
		const own = StateDir + "/k3s"
		s, ok := d.text(p, v, "a folder such as "+DefaultLocalStorage)
		switch {
		case !ok:
		case !plainPath(s) || !below(s, StateDir):
			d.fail(v, p, "found %s, expected a folder below %s, the only place of a node that keeps data; without \"..\" and a slash at the end", d.found(v), StateDir)
		case s == own || s == StateDir+"/keelson" || below(s, own+"/server") || s == own+"/server" || below(s, own+"/agent") || s == own+"/agent" || below(s, StateDir+"/keelson"):
			d.fail(v, p, "found %s, where the node keeps its own files; expected a folder of its own such as %s", d.found(v), DefaultLocalStorage)
		default:
			c.LocalStoragePath = s
		}
	}
	known["resolv-conf"] = func(p string, v *yaml.Node) {
		s, ok := d.text(p, v, "the path of a resolv.conf")
		switch {
		case !ok:
		case !plainPath(s) || (!below(s, StateDir) && !below(s, "/run") && !below(s, "/etc")):
			d.fail(v, p, "found %s, expected the full path of a file below %s, /etc or /run; for other name servers alone, network.nameservers is enough", d.found(v), StateDir)
		default:
			c.ResolvConf = s
		}
	}
}

// checkAddresses compares the addresses and ports with each other and with the links'.
func (d *decoder) checkAddresses(cfg *Config) {
	c := cfg.Cluster
	if c.NodePorts.Contains(c.HTTPSListenPort) {
		at := "cluster.https-listen-port"
		if !d.has(at) {
			at = "cluster.service-node-port-range"
		}
		d.failAt(at, "the API's port %d is in the range of NodePorts (service-node-port-range %s); choose another", c.HTTPSListenPort, c.NodePorts)
	}
	for _, port := range slices.Sorted(maps.Keys(takenPorts)) {
		if c.NodePorts.Contains(port) {
			d.failAt("cluster.service-node-port-range", "%s has the port %d, which is %s; choose another range", c.NodePorts, port, takenPorts[port])
			break
		}
	}
	for key, a := range map[string]netip.Addr{"node-ip": c.NodeIP, "bind-address": c.BindAddress, "advertise-address": c.AdvertiseAddress} {
		switch at := "cluster." + key; {
		case !a.IsValid():
		case c.ClusterCIDR.Contains(a):
			d.failAt(at, "%s is in the pod network %s (cluster-cidr), expected an address of the node", a, c.ClusterCIDR)
		case c.ServiceCIDR.Contains(a):
			d.failAt(at, "%s is in the service network %s (service-cidr), expected an address of the node", a, c.ServiceCIDR)
		}
	}
	for key, a := range map[string]netip.Addr{"node-ip": c.NodeIP, "bind-address": c.BindAddress} {
		if !a.IsValid() {
			continue
		}
		if have, fixed := fixedAddresses(cfg.Network.Interfaces); fixed && !slices.Contains(have, a.String()) {
			d.failAt("cluster."+key, "%s is none of the node's addresses (network.interfaces: %s); add it there or take one of them", a, list(have))
		}
	}
	if c.BindAddress.IsValid() && !c.AdvertiseAddress.IsValid() && c.NodeIP.IsValid() && c.NodeIP != c.BindAddress {
		d.failAt("cluster.bind-address", "%s is not the node-ip %s, at which pods look for the API; make them the same, or set advertise-address to where the API is reached", c.BindAddress, c.NodeIP)
	}
}

// fixedAddresses returns every IPv4 address of the node, when none comes from elsewhere.
func fixedAddresses(interfaces []Interface) (have []string, fixed bool) {
	for _, i := range interfaces {
		if i.DHCP {
			return nil, false
		}
		for _, a := range i.Addresses {
			if a.Addr().Is4() {
				have = append(have, a.Addr().String())
			}
		}
	}
	return have, len(interfaces) > 0
}
