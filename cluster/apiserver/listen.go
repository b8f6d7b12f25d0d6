package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// both listens on several addresses as if they were one. Upstream's server takes one
// listener only, but a server that is bound to an address of the node must also be there
// on the loopback address, where the node's own components look for it.
type both struct {
	listeners []net.Listener
	accepted  chan accepted
	closed    chan struct{}
	once      sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

// listen opens port on the loopback address and on addr. The node need not have addr yet:
// with IP_FREEBIND connections arrive once it does.
func listen(ctx context.Context, addr netip.Addr, port int) (net.Listener, error) {
	b := &both{accepted: make(chan accepted), closed: make(chan struct{})}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(err, set)
	}}
	for _, host := range []string{"127.0.0.1", addr.String()} {
		l, err := config.Listen(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("bind-address: %w", err), b.Close())
		}
		b.listeners = append(b.listeners, l)
		if port == 0 { // the same one on the other address
			if a, ok := l.Addr().(*net.TCPAddr); ok {
				port = a.Port
			}
		}
	}
	for _, l := range b.listeners {
		go b.serve(l)
	}
	return b, nil
}

// serve ends when l is closed.
func (b *both) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case b.accepted <- accepted{conn, err}:
		case <-b.closed:
			if conn != nil {
				_ = conn.Close() // nobody is left to serve it or to tell
			}
			return
		}
	}
}

// Accept returns the next connection on any of the addresses.
func (b *both) Accept() (net.Conn, error) {
	select {
	case a := <-b.accepted:
		return a.conn, a.err
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close closes all of them.
func (b *both) Close() error {
	var err error
	b.once.Do(func() {
		close(b.closed)
		for _, l := range b.listeners {
			err = errors.Join(err, l.Close())
		}
	})
	return err
}

// Addr is the loopback address: upstream's own client connects to it.
func (b *both) Addr() net.Addr { return b.listeners[0].Addr() }
