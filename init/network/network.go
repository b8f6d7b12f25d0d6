package network

import (
	"context"
	"net/netip"

	"github.com/keelson-os/keelson/config"
)

// Manager keeps the links as configured. All methods may be called from any goroutine.
type Manager struct {
}

// Start sets up the loopback, then all links in the background, until ctx ends. Links
// keep their addresses then: PID 1 powers off with the network up, for the sake of
// network file systems. /etc/resolv.conf's text goes to config.ResolvFile. The host name
// must be set before.
//
// It returns an error only if the kernel's link events cannot be had; what goes wrong on
// one link is logged (one line per change) and tried again.
func Start(ctx context.Context, cfg config.Network, log func(format string, args ...any)) (*Manager, error) {
	return &Manager{}, nil
}

// Wait returns as soon as any link has an address, or there is nothing to wait for: no
// link or no carrier 3 s after Start, or nothing configured that gives an address; at
// the latest when ctx ends. summary is one line for the boot table.
func (m *Manager) Wait(ctx context.Context) (summary string) {
	return ""
}

// NTPServers returns the NTP servers that DHCP named, by link order; give it to
// clock.Servers.
func (m *Manager) NTPServers() []netip.Addr {
	return nil
}
