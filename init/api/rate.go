package api

import (
	"net/netip"
	"sync"
	"time"
)

// bucket allows a burst of events, and a number a second after that.
type bucket struct {
	tokens float64
	last   time.Time
}

func (b *bucket) allow(now time.Time, burst, perSecond float64) bool {
	if b.last.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.last).Seconds(); d > 0 { // by the monotonic clock
		b.tokens = min(burst, b.tokens+d*perSecond)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Limits of new connections: per address and over all. A handshake takes a small board a few milliseconds, so that all are a fraction of a core.
const (
	addressBurst, addressRate = 20, 2
	totalBurst, totalRate     = 200, 50
	// addressesMax bounds how many addresses are remembered.
	addressesMax = 1024
)

// rates counts new connections. The zero value is ready.
type rates struct {
	mu        sync.Mutex
	total     bucket
	addresses map[netip.Prefix]*bucket
}

// allow says whether one more connection from an address may begin.
func (r *rates) allow(from netip.Prefix, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.addresses[from]
	if b == nil {
		if len(r.addresses) >= addressesMax {
			r.forget(now)
		}
		b = &bucket{}
		if r.addresses == nil {
			r.addresses = map[netip.Prefix]*bucket{}
		}
		r.addresses[from] = b
	}
	// The address first: who is over its own limit takes nothing from the others.
	return b.allow(now, addressBurst, addressRate) && r.total.allow(now, totalBurst, totalRate)
}

// refund takes back one connection from an address.
func (r *rates) refund(from netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.addresses[from]; b != nil {
		b.tokens = min(addressBurst, b.tokens+1)
	}
	r.total.tokens = min(totalBurst, r.total.tokens+1)
}

// forget drops the addresses whose buckets are full again, and all of them if that is not half: a flood from so many
// addresses is bounded by the total alone.
func (r *rates) forget(now time.Time) {
	for a, b := range r.addresses {
		if now.Sub(b.last).Seconds()*addressRate >= addressBurst {
			delete(r.addresses, a)
		}
	}
	if len(r.addresses) > addressesMax/2 {
		clear(r.addresses)
	}
}

// origin is what counts as one address: all of IPv4's, and the /64 of IPv6's, which a host can fill at will.
func origin(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
