// Package network sets up the node's links: addresses, routes, DHCP, VLAN, bond, name
// servers, and keeps them so while links come and go.
//
// With no interface configured, every physical Ethernet link gets DHCPv4 and IPv6
// autoconfiguration, those plugged in later too. With any configured, only those.
// Links made by others (CNI, flannel, keelson0, containers) are never touched: a link is
// ours if it has a device behind it, or is a VLAN or bond that the configuration names.
//
// One goroutine owns the links. It wakes when the kernel reports a change, waits a
// moment for more, looks at all links and makes what is missing, parents first. Nothing
// depends on the order in the file or on which link appears first, and a link that goes
// and comes back is set up again by the same code. DHCP runs in one goroutine per link
// (package dhcp).
//
// Every link's routes get the metric 100 + its index, IPv6 router advertisements
// included, so that of two NICs with a default route the first is taken, and with two
// or more links a route on a link without carrier is not used.
//
// What it does not promise: that an address means that the internet, or even the
// gateway, can be reached.
package network
