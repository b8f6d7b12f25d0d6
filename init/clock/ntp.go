package clock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// replyTimeout is how long one server may take to answer.
const replyTimeout = 2 * time.Second

// maxAsked is how many addresses are asked at once: enough to outvote one liar.
const maxAsked = 4

// Servers returns whom to ask: what the user configured, unless that is only the
// default (pool.ntp.org) and DHCP named servers of the local network. An empty
// configured list turns NTP off.
func Servers(configured []string, dhcp []netip.Addr) []string {
	if len(dhcp) == 0 || !slices.Equal(configured, []string{DefaultServer}) {
		return configured
	}
	names := make([]string, len(dhcp))
	for i, a := range dhcp {
		names[i] = a.String()
	}
	return names
}

// DefaultServer is what the configuration holds when the user named no server.
const DefaultServer = "pool.ntp.org"

// measure asks up to maxAsked addresses of servers at once, and returns the answer in
// the middle: with three or more, one server with a wrong time cannot win.
// The error joins what each server did.
func measure(ctx context.Context, servers []string) (sample, error) {
	addrs, err := lookup(ctx, servers)
	if len(addrs) == 0 {
		return sample{}, err
	}
	var mu sync.Mutex
	var samples []sample
	errs := []error{err}
	var wg sync.WaitGroup
	for _, a := range addrs {
		wg.Go(func() {
			s, err := query(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a, err))
				return
			}
			samples = append(samples, s)
		})
	}
	wg.Wait()
	if len(samples) == 0 {
		return sample{}, errors.Join(errs...)
	}
	return middle(samples), nil
}

// middle returns the sample with the median offset; of two, the one with the smaller
// root distance and delay.
func middle(s []sample) sample {
	if len(s) == 2 {
		if s[1].distance+s[1].delay/2 < s[0].distance+s[0].delay/2 {
			return s[1]
		}
		return s[0]
	}
	slices.SortFunc(s, func(a, b sample) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	return s[len(s)/2]
}

// lookup resolves host and host:port to at most maxAsked addresses, taking them from
// the servers in turn.
func lookup(ctx context.Context, servers []string) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var found [][]netip.AddrPort
	var errs []error
	for _, s := range servers {
		host, port, err := splitServer(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			errs = append(errs, fmt.Errorf("look up NTP server %s: %w", host, err))
			continue
		}
		var list []netip.AddrPort
		for _, ip := range ips {
			list = append(list, netip.AddrPortFrom(ip.Unmap(), port))
		}
		found = append(found, list)
	}
	var addrs []netip.AddrPort
	for i := 0; len(addrs) < maxAsked; i++ {
		more := false
		for _, list := range found {
			if i < len(list) && len(addrs) < maxAsked {
				more = true
				if !slices.Contains(addrs, list[i]) {
					addrs = append(addrs, list[i])
				}
			}
		}
		if !more {
			break
		}
	}
	return addrs, errors.Join(errs...)
}

// splitServer takes "host", "host:port", "::1" and "[::1]:port" apart; the default port is 123.
func splitServer(s string) (host string, port uint16, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, 123, nil
	}
	h, p, err := net.SplitHostPort(s)
	if err != nil {
		return s, 123, nil
	}
	n, err := net.LookupPort("udp", p)
	if err != nil {
		return "", 0, fmt.Errorf("NTP server %q: want host or host:port: %w", s, err)
	}
	return h, uint16(n), nil
}

// query asks one server once. Packets that do not answer the question are passed over
// until replyTimeout.
func query(ctx context.Context, to netip.AddrPort) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return sample{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return sample{}, err
	}
	nonce := binary.BigEndian.Uint64(seed[:])
	req := newRequest(nonce)
	sent := time.Now()
	if _, err := conn.Write(req[:]); err != nil {
		return sample{}, err
	}
	var last error
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf)
		elapsed := time.Since(sent)
		if err != nil {
			if last != nil {
				err = last
			}
			return sample{}, err
		}
		s, err := parseReply(buf[:n], nonce, sent, elapsed)
		if err == nil || errors.Is(err, ErrUnsynced) {
			return s, err
		}
		last = err
	}
}
