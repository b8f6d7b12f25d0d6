package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/machine"
)

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	n := newNode(t, nil)
	for _, two := range []bool{false, true} {
		client := n.http(t, two, machine.RoleAdmin)
		for _, x := range []struct {
			method, path string
			size         int64
			want         int
		}{
			{"POST", "/v1/reset", bodyMax + 1, 413},
			{"POST", "/v1/upgrade", bodyMax + 1, 413},
			{"PUT", "/v1/config", configMax + 1, 413},
			{"POST", "/v1/reset", bodyMax - 1, 400},
			{"POST", "/v1/reset", 1 << 40, 413},
		} {
			req, err := http.NewRequestWithContext(within(t, 20*time.Second), x.method, "https://"+n.address+x.path, io.LimitReader(zeros{}, x.size))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				if !two && x.size > 1<<30 {
					continue // HTTP/1: the server closes the connection, and the answer may be lost with it
				}
				t.Errorf("HTTP/2 %v: %s %s with %d bytes: %v", two, x.method, x.path, x.size, err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != x.want {
				t.Errorf("HTTP/2 %v: %s %s with %d bytes = %d, want %d", two, x.method, x.path, x.size, resp.StatusCode, x.want)
			}
		}
	}
	n.alive(t)
}

func TestAHeaderThatIsTooLargeIsRefused(t *testing.T) {
	n := newNode(t, nil)
	for _, two := range []bool{false, true} {
		client := n.http(t, two, machine.RoleAdmin)
		req, err := http.NewRequestWithContext(within(t, 20*time.Second), "GET", "https://"+n.address+"/v1/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 {
			req.Header.Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("HTTP/2 %v: status = %d, want 431", two, resp.StatusCode)
			}
		}
	}
	n.alive(t)
}

func TestSlowClientsAreCutOff(t *testing.T) {
	n := newNode(t, func(n *node) {
		n.limits.header, n.limits.body = 300*time.Millisecond, 300*time.Millisecond
	})
	pair := n.ca.client(t, nil, machine.RoleAdmin)
	slow := map[string]func() net.Conn{
		"says nothing": func() net.Conn { return dialTCP(t, n.address) },
		"begins a handshake": func() net.Conn {
			c := dialTCP(t, n.address)
			c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00})
			return c
		},
		"begins a header": func() net.Conn {
			c, err := tls.Dial("tcp", n.address, n.tls(t, &pair))
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "GET /v1/version HTTP/1.1\r\nHost:")
			return c
		},
		"begins a body": func() net.Conn {
			c, err := tls.Dial("tcp", n.address, n.tls(t, &pair))
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "PUT /v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nrole:")
			return c
		},
	}
	var wait sync.WaitGroup
	for name, begin := range slow {
		c := begin()
		wait.Go(func() {
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			answer, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("who %s is kept for more than 10 s, limit is 0.3 s", name)
			}
			if name == "begins a body" && !bytes.Contains(answer, []byte(" 408 ")) {
				t.Errorf("who %s got %q, want status 408", name, answer)
			}
		})
	}
	wait.Wait()
	n.alive(t)
}

func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAFloodOfConnectionsIsBoundedAndDoesNotStopOthers(t *testing.T) {
	n := newNode(t, nil)
	// A client that was there before goes on: its connection is not closed for strangers.
	before := n.dial(t, machine.RoleReadOnly)
	if _, err := before.Version(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 300 {
		c, err := net.DialTimeout("tcp", n.address, 5*time.Second)
		if err != nil {
			continue
		}
		conns = append(conns, c)
	}
	open := 0
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
		c.Close()
	}
	if open >= perAddressMax {
		t.Errorf("%d of %d connections are open, besides the one of the client; want at most %d in all", open, len(conns), perAddressMax)
	}
	if _, err := before.Status(within(t, 10*time.Second)); err != nil {
		t.Errorf("client that was connected: %v", err)
	}
	n.alive(t)
}

// fakeConn is a connection from an address.
type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}
func (c *fakeConn) Close() error { c.closed = true; return nil }

func TestTheRatesAreForStrangers(t *testing.T) {
	l := newLimiter(nil)
	now := time.Now()
	for i := range 3 * addressBurst {
		k := l.admit(&fakeConn{from: "10.0.0.1:1"}, now)
		if k == nil {
			t.Fatalf("connection %d of somebody with a certificate is refused", i+1)
		}
		l.trust(k)
		l.trust(k) // with every request; counts once
		k.Close()
	}
	for i := range addressBurst {
		k := l.admit(&fakeConn{from: "10.0.0.1:1"}, now)
		if k == nil {
			t.Fatalf("connection %d of a stranger is refused", i+1)
		}
		k.Close()
	}
	if l.admit(&fakeConn{from: "10.0.0.1:1"}, now) != nil {
		t.Errorf("more than %d connections of a stranger at once", addressBurst)
	}
}

func TestTheOldestHandshakeMakesRoomAndTrustedConnectionsStay(t *testing.T) {
	l := newLimiter(nil)
	now := time.Now()
	var all []*fakeConn
	for i := range connectionsMax {
		now = now.Add(time.Second) // so that no rate is reached
		c := &fakeConn{from: fmt.Sprintf("10.0.%d.1:1", i)}
		k := l.admit(c, now)
		if k == nil {
			t.Fatalf("connection %d of %d is refused", i+1, connectionsMax)
		}
		if i%2 == 0 {
			l.trust(k)
		}
		all = append(all, c)
	}
	now = now.Add(time.Second)
	if l.admit(&fakeConn{from: "10.1.0.1:1"}, now) == nil {
		t.Error("a further connection is refused, although some have not shaken hands")
	}
	for i, c := range all {
		if want := i == 1; c.closed != want {
			t.Errorf("connection %d closed = %v, want %v: only the oldest that is not trusted", i, c.closed, want)
		}
	}
	l.mu.Lock()
	for k := range l.conns {
		k.trusted = true
	}
	l.mu.Unlock()
	if l.admit(&fakeConn{from: "10.1.0.2:1"}, now.Add(time.Second)) != nil {
		t.Error("a stranger is admitted when all places have trusted clients")
	}
	if got := len(l.conns); got != connectionsMax {
		t.Errorf("%d connections, want %d", got, connectionsMax)
	}
}

func TestAnAddressHasSoManyConnectionsAndAnIPv6NetworkCountsAsOne(t *testing.T) {
	l := newLimiter(nil)
	now := time.Now()
	for i := range perAddressMax + 3 {
		k := l.admit(&fakeConn{from: fmt.Sprintf("[2001:db8::%x]:1", i+1)}, now)
		if k != nil {
			l.trust(k)
		}
		if got := k != nil; got != (i < perAddressMax) {
			t.Errorf("connection %d of one /64 admitted = %v", i+1, got)
		}
	}
	if l.admit(&fakeConn{from: "[2001:db8:0:1::1]:1"}, now) == nil {
		t.Error("another /64 is refused")
	}
	k := l.admit(&fakeConn{from: "192.0.2.1:1"}, now)
	if k == nil || k.Close() != nil || k.Close() != nil {
		t.Fatal("no connection, or it cannot be closed twice")
	}
	if got := len(l.conns); got != perAddressMax+1 {
		t.Errorf("%d connections are counted after one was closed, want %d", got, perAddressMax+1)
	}
}

func TestConnectionsOfAnAddressMayOnlyComeSoFast(t *testing.T) {
	var r rates
	now := time.Now()
	from := origin(netip.MustParseAddr("192.0.2.1"))
	allowed := 0
	for range 1000 {
		if r.allow(from, now) {
			allowed++
		}
	}
	if allowed != addressBurst {
		t.Errorf("%d of 1000 at once are allowed, want %d", allowed, addressBurst)
	}
	if !r.allow(from, now.Add(time.Second)) {
		t.Error("none is allowed a second later")
	}
	// Many addresses: the total holds, and what is remembered is bounded.
	allowed = 0
	for i := range 100_000 {
		if r.allow(origin(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), now) {
			allowed++
		}
	}
	if allowed > totalBurst {
		t.Errorf("%d from 100000 addresses are allowed at once, want at most %d", allowed, totalBurst)
	}
	if len(r.addresses) > addressesMax {
		t.Errorf("%d addresses are remembered, want at most %d", len(r.addresses), addressesMax)
	}
}

func TestMoreRequestsThanPlacesAreToldToComeAgain(t *testing.T) {
	n := newNode(t, nil)
	block := make(chan struct{})
	release := sync.OnceFunc(func() { close(block) })
	t.Cleanup(release)
	n.mu.Lock()
	n.block = block
	n.mu.Unlock()
	local := machine.Local(n.socket)
	answers := make(chan error, requestsMax)
	for range requestsMax {
		go func() {
			_, err := local.Status(context.Background())
			answers <- err
		}()
	}
	ctx := within(t, 20*time.Second)
	for len(n.Server.requests) < requestsMax {
		if ctx.Err() != nil {
			t.Fatal("the places are not taken")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := local.Version(ctx); !errors.Is(err, machine.ErrUnavailable) {
		t.Errorf("Version with all places taken = %v, want ErrUnavailable", err)
	}
	n.mu.Lock()
	n.block = nil
	n.mu.Unlock()
	release()
	for range requestsMax {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	n.alive(t)
}

func TestAPanicIsOneErrorAnswer(t *testing.T) {
	n := newNode(t, nil)
	n.slots.rollback = func() (machine.Rollback, error) { panic("broken") }
	c := n.dial(t, machine.RoleAdmin)
	var e *machine.Error
	if _, err := c.Rollback(within(t, 10*time.Second)); !errors.As(err, &e) || e.Status != 500 || !strings.Contains(e.Message, "broken") {
		t.Errorf("Rollback = %v, want an error with status 500", err)
	}
	n.slots.open = func(string) (Source, error) { panic("in a stream") }
	if _, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x/y"}, nil); err == nil {
		t.Error("Upgrade whose stream panics = nil")
	}
	if got := len(n.streams); got != 0 {
		t.Errorf("%d places of streams are still taken", got)
	}
	if _, err := c.Version(within(t, 10*time.Second)); err != nil {
		t.Errorf("Version after it = %v", err)
	}
}

func TestAStreamEndsWithItsClientAndNotBefore(t *testing.T) {
	n := newNode(t, func(n *node) {
		n.limits = limits{header: 200 * time.Millisecond, body: 200 * time.Millisecond, answer: 200 * time.Millisecond, stall: 200 * time.Millisecond, push: time.Second, idle: 200 * time.Millisecond}
	})
	log := filepath.Join(n.Places.Logs, "node.log")
	if err := os.WriteFile(log, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*machine.Client{"network": n.dial(t, machine.RoleReadOnly), "socket": machine.Local(n.socket)} {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := c.Logs(ctx, "node", machine.LogOptions{Follow: true, Tail: 1})
		if err != nil {
			t.Fatal(err)
		}
		events := make(chan error, 1)
		got := make(chan string, 10)
		go func() {
			events <- c.Events(ctx, 0, true, func(e machine.Event) error { got <- e.Text; return nil })
		}()
		time.Sleep(time.Second) // longer than every limit
		n.events.Add(control.EventNode, "%s", name)
		if err := appendFile(log, "later by "+name+"\n"); err != nil {
			t.Fatal(err)
		}
		want := "later by " + name + "\n"
		if text := readUntil(t, r, want); !strings.Contains(text, want) {
			t.Errorf("%s: log = %q, want %q", name, text, want)
		}
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no event came", name)
		}
		cancel()
		r.Close()
		<-events
		for end := time.Now().Add(10 * time.Second); len(n.streams) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d streams are still served after their client has gone", name, len(n.streams))
			}
		}
	}
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// readUntil reads until want was read, or for 10 s.
func readUntil(t *testing.T, r io.ReadCloser, want string) string {
	t.Helper()
	stop := time.AfterFunc(10*time.Second, func() { r.Close() })
	defer stop.Stop()
	var all []byte
	b := make([]byte, 1000)
	for !strings.Contains(string(all), want) {
		n, err := r.Read(b)
		all = append(all, b[:n]...)
		if err != nil {
			break
		}
	}
	return string(all)
}

func TestAClientThatDoesNotReadItsStreamIsCutOff(t *testing.T) {
	n := newNode(t, func(n *node) { n.limits.stall = 300 * time.Millisecond })
	if err := os.WriteFile(filepath.Join(n.Places.Logs, "node.log"), bytes.Repeat([]byte("a line of the log\n"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, two := range []bool{false, true} {
		resp, err := n.http(t, two, machine.RoleReadOnly).Get("https://" + n.address + "/v1/logs/node")
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); len(n.streams) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("HTTP/2 %v: a client that does not read is served for more than 20 s", two)
			}
		}
		resp.Body.Close()
	}
	n.alive(t)
}

func TestAStreamThatPID1RefusesIsAnErrorAndNoEmptyStream(t *testing.T) {
	n := newNode(t, nil)
	n.events.Add(control.EventBoot, "boot")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := machine.Local(n.socket)
	const followers = 8 // of package control
	began := make(chan struct{}, followers)
	for range followers {
		go c.Events(ctx, 0, true, func(machine.Event) error { began <- struct{}{}; return nil })
	}
	for range followers {
		select {
		case <-began:
		case <-time.After(10 * time.Second):
			t.Fatal("no event came")
		}
	}
	if err := c.Events(within(t, 10*time.Second), 0, true, func(machine.Event) error { return nil }); !errors.Is(err, machine.ErrUnavailable) {
		t.Errorf("Events for one follower too many = %v, want ErrUnavailable", err)
	}
}

func TestAClientMayConnectAsOftenAsItLikes(t *testing.T) {
	n := newNode(t, nil)
	for i := range 3 * addressBurst {
		c := n.dial(t, machine.RoleReadOnly)
		if _, err := c.Version(within(t, 10*time.Second)); err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
		c.Close()
	}
}
