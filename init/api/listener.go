package api

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of connections at once.
const (
	connectionsMax = 64
	perAddressMax  = 8
)

// limiter is a listener that bounds how many connections there are, and how fast they come. Those over a limit are closed without a
// word: an answer would cost more than the question.
type limiter struct {
	net.Listener
	rates rates

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	from     netip.Prefix
	accepted time.Time
	trusted  bool // its handshake is over; under limiter.mu
	close    func() error
}

// Close may be called several times.
func (c *conn) Close() error { return c.close() }

func newLimiter(l net.Listener) *limiter {
	return &limiter{Listener: l, conns: map[*conn]struct{}{}}
}

// Accept returns the next connection within the limits.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if k := l.admit(c, time.Now()); k != nil {
			return k, nil
		}
		c.Close()
	}
}

// admit counts c, or returns nil.
func (l *limiter) admit(c net.Conn, now time.Time) *conn {
	var from netip.Prefix
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		from = origin(a.Addr())
	}
	if !l.rates.allow(from, now) {
		return nil
	}
	k := &conn{Conn: c, from: from, accepted: now}
	k.close = sync.OnceValue(func() error {
		l.mu.Lock()
		delete(l.conns, k)
		l.mu.Unlock()
		return c.Close()
	})
	l.mu.Lock()
	out, ok := l.place(from)
	if ok {
		l.conns[k] = struct{}{}
	}
	l.mu.Unlock()
	if out != nil {
		out.Close()
	}
	if !ok {
		return nil
	}
	return k
}

// place finds room for one more connection; out is one to close for it. Who has shaken hands is never closed for a stranger.
func (l *limiter) place(from netip.Prefix) (out *conn, ok bool) {
	same := 0
	var oldest, oldestOfSame *conn
	for k := range l.conns {
		if k.from == from {
			same++
		}
		if k.trusted {
			continue
		}
		if oldest == nil || k.accepted.Before(oldest.accepted) {
			oldest = k
		}
		if k.from == from && (oldestOfSame == nil || k.accepted.Before(oldestOfSame.accepted)) {
			oldestOfSame = k
		}
	}
	switch {
	case same >= perAddressMax:
		return oldestOfSame, oldestOfSame != nil
	case len(l.conns) >= connectionsMax:
		return oldest, oldest != nil
	}
	return nil, true
}

// trust says that the handshake is over, with a good certificate whose key the client has; it may say so again. The rates are for strangers: a script may call "keelson" as often as it likes.
func (l *limiter) trust(c net.Conn) {
	k, ok := c.(*conn)
	if !ok {
		return
	}
	l.mu.Lock()
	before := k.trusted
	k.trusted = true
	l.mu.Unlock()
	if !before {
		l.rates.refund(k.from)
	}
}
