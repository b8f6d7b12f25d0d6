package network

import (
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxServers is how many name servers a resolver looks at (resolv.conf(5), MAXNS).
	maxServers = 3
	// maxDomains and maxSearch, in bytes, are the most search domains that every resolver
	// takes; Kubernetes adds three to a pod's.
	maxDomains = 6
	maxSearch  = 256
)

// resolvFile is the resolv.conf that we write.
type resolvFile struct {
	path    string
	written string // its text; empty: not written yet
}

// dnsSource is what one source says about DNS.
type dnsSource struct {
	servers []netip.Addr
	domains []string
}

// writeResolv writes resolv.conf if its text changes: what the configuration gives comes
// first, then what DHCP said, then router advertisements, each by link order.
// m.mu must be held.
func (m *Manager) writeResolv() {
	sources := []dnsSource{{m.cfg.Nameservers, m.cfg.Search}}
	ports := sortedPorts(m.ports)
	for _, p := range ports {
		sources = append(sources, dnsSource{servers: p.cfg.Nameservers})
	}
	for _, p := range ports {
		if p.lease != nil {
			sources = append(sources, dnsSource{p.lease.DNS, p.lease.Search})
		}
	}
	for _, p := range ports {
		if d := m.learned[p.index]; d != nil {
			var s dnsSource
			for _, e := range d.servers {
				a := e.value
				if a.IsLinkLocalUnicast() {
					a = a.WithZone(p.name)
				}
				s.servers = append(s.servers, a)
			}
			for _, e := range d.domains {
				s.domains = append(s.domains, e.value)
			}
			sources = append(sources, s)
		}
	}
	text := resolvText(sources)
	if text == m.resolv.written {
		return
	}
	if err := writeFile(m.resolv.path, []byte(text)); err != nil {
		m.log("write resolv.conf: %v", err)
		return
	}
	m.resolv.written = text
}

// resolvText merges sources, earlier ones first, without duplicates and within what
// resolvers read.
func resolvText(sources []dnsSource) string {
	var servers []netip.Addr
	var domains []string
	length := 0
	for _, s := range sources {
		for _, a := range s.servers {
			if len(servers) < maxServers && !slices.Contains(servers, a) {
				servers = append(servers, a)
			}
		}
		for _, d := range s.domains {
			if len(domains) < maxDomains && length+len(d)+1 <= maxSearch && !slices.Contains(domains, d) {
				domains = append(domains, d)
				length += len(d) + 1
			}
		}
	}
	var b strings.Builder
	b.WriteString("# Written by Keelson from its configuration, DHCP and router advertisements.\n")
	for _, a := range servers {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	if len(domains) > 0 {
		b.WriteString("search " + strings.Join(domains, " ") + "\n")
	}
	return b.String()
}
