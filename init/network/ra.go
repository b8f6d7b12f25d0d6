package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keelson-os/keelson/init/network/dhcp"
)

const (
	optRDNSS = 25 // RFC 8106 §5.1
	optDNSSL = 31 // RFC 8106 §5.2

	// userOptHeader is the size of struct nduseroptmsg (linux/rtnetlink.h), in bytes.
	userOptHeader = 16
	// maxLearned bounds what is kept of one link's advertisements, which anyone on the
	// network can send.
	maxLearned = 8
	// forever is the lifetime 0xffffffff.
	forever = 1<<32 - 1
)

// raDNS is what router advertisements on one link said about DNS.
type raDNS struct {
	servers []expiring[netip.Addr]
	domains []expiring[string]
}

// expiring is a value that holds until a time; the zero time: for ever.
type expiring[T comparable] struct {
	value T
	until time.Time
}

// raOption is one option of a router advertisement: name servers or search domains.
type raOption struct {
	servers  []netip.Addr
	domains  []string
	lifetime uint32 // seconds; 0: no longer; 0xffffffff: for ever
}

var errShort = errors.New("cut short")

// parseUserOption takes an RTM_NEWNDUSEROPT message apart: the link and the option.
// Options other than RDNSS and DNSSL come back empty.
// Source: linux/rtnetlink.h struct nduseroptmsg; the option itself is in network order.
func parseUserOption(b []byte) (index int, o raOption, err error) {
	if len(b) < userOptHeader {
		return 0, o, fmt.Errorf("message of %d bytes, want %d or more: %w", len(b), userOptHeader, errShort)
	}
	size := int(binary.NativeEndian.Uint16(b[2:]))
	index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	if size > len(b)-userOptHeader {
		return 0, o, fmt.Errorf("options of %d bytes in %d: %w", size, len(b)-userOptHeader, errShort)
	}
	opt := b[userOptHeader : userOptHeader+size]
	if b[8] != 134 { // ICMPv6 type: router advertisement
		return index, o, nil
	}
	o, err = parseRAOption(opt)
	return index, o, err
}

// parseRAOption parses one RDNSS or DNSSL option, its type and length bytes included.
func parseRAOption(opt []byte) (o raOption, err error) {
	if len(opt) < 8 || int(opt[1])*8 > len(opt) || opt[1] == 0 {
		return o, fmt.Errorf("option of %d bytes: %w", len(opt), errShort)
	}
	opt = opt[:int(opt[1])*8]
	o.lifetime = binary.BigEndian.Uint32(opt[4:])
	rest := opt[8:]
	switch opt[0] {
	case optRDNSS:
		for ; len(rest) >= 16; rest = rest[16:] {
			a := netip.AddrFrom16([16]byte(rest))
			if !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() {
				o.servers = append(o.servers, a)
			}
		}
	case optDNSSL:
		o.domains = parseNames(rest)
	}
	return o, nil
}

// parseNames parses DNS names in wire format without compression, padded with zeros
// (RFC 8106 §5.2). It stops at the first that is malformed, and leaves out those that are
// no host names.
func parseNames(b []byte) []string {
	var names []string
	var labels []string
	for len(b) > 0 {
		n := int(b[0])
		b = b[1:]
		if n == 0 {
			if len(labels) > 0 {
				if name := strings.ToLower(strings.Join(labels, ".")); dhcp.ValidDomain(name) && !slices.Contains(names, name) {
					names = append(names, name)
				}
				labels = nil
			}
			continue
		}
		if n > 63 || n > len(b) {
			break
		}
		// A dot in a label would make two of one.
		if label := string(b[:n]); strings.Contains(label, ".") {
			labels = append(labels, " ")
		} else {
			labels = append(labels, label)
		}
		b = b[n:]
	}
	return names
}

// learn takes in what an advertisement on a link said.
func (m *Manager) learn(index int, o raOption, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Before a link is ours it is down, and hears nothing; others' links do not count.
	if p := m.ports[index]; p == nil || !p.cfg.SLAAC {
		return
	}
	d := m.learned[index]
	if d == nil {
		d = new(raDNS)
		m.learned[index] = d
	}
	var until time.Time
	if o.lifetime != forever {
		until = now.Add(time.Duration(o.lifetime) * time.Second)
	}
	for _, s := range o.servers {
		d.servers = keep(d.servers, expiring[netip.Addr]{s, until}, o.lifetime == 0)
	}
	for _, s := range o.domains {
		d.domains = keep(d.domains, expiring[string]{s, until}, o.lifetime == 0)
	}
	m.writeResolv()
	m.poke() // the loop's timer may have to ring earlier
}

// keep puts e in list, in place of one of the same value; or, with drop, takes it out.
func keep[T comparable](list []expiring[T], e expiring[T], drop bool) []expiring[T] {
	i := slices.IndexFunc(list, func(x expiring[T]) bool { return x.value == e.value })
	switch {
	case drop && i >= 0:
		return slices.Delete(list, i, i+1)
	case i >= 0:
		list[i] = e
	case !drop && len(list) < maxLearned:
		list = append(list, e)
	}
	return list
}

// expireLearned forgets what does not hold any more, and returns how long until the next
// has to be forgotten; any is false if none has. m.mu must be held.
func (m *Manager) expireLearned(now time.Time) (next time.Duration, any bool) {
	note := func(until time.Time) bool {
		if until.IsZero() {
			return false
		}
		left := until.Sub(now)
		if left <= 0 {
			return true
		}
		if !any || left < next {
			next, any = left, true
		}
		return false
	}
	for _, d := range m.learned {
		d.servers = slices.DeleteFunc(d.servers, func(e expiring[netip.Addr]) bool { return note(e.until) })
		d.domains = slices.DeleteFunc(d.domains, func(e expiring[string]) bool { return note(e.until) })
	}
	return next, any
}
