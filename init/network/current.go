package network

import "strings"

// Addresses returns the addresses of the links that are set up, "192.0.2.7/24", by link order: configured ones, those of
// DHCP, else those of router advertisements.
func (m *Manager) Addresses() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []string{}
	for _, p := range sortedPorts(m.ports) {
		for _, a := range p.addresses(true) {
			list = append(list, strings.TrimSuffix(a, dhcpNote))
		}
	}
	return list
}
