package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
)

func TestOnlyAValidCertificateOfTheMachineCAGetsThroughTheHandshake(t *testing.T) {
	n := newNode(t, nil)
	foreign := newAuthority(t, "machine CA") // the same name, another key
	good := n.ca.client(t, nil, machine.RoleAdmin)
	for name, c := range map[string]*config.KeyPair{
		"none":    nil,
		"foreign": ptr(foreign.client(t, nil, machine.RoleAdmin)),
		"expired": ptr(n.ca.client(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, machine.RoleAdmin)),
		"future": ptr(n.ca.client(t, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
			c.NotAfter = time.Now().Add(2 * time.Hour)
		}, machine.RoleAdmin)),
		"a server's":  ptr(n.ca.client(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, machine.RoleAdmin)),
		"self-signed": ptr((&authority{}).selfSigned(t)),
	} {
		if err := shake(n.address, n.tls(t, c)); err == nil {
			t.Errorf("certificate %s: the handshake passed", name)
		}
	}
	if err := shake(n.address, n.tls(t, &good)); err != nil {
		t.Errorf("good certificate: %v", err)
	}
	old := n.tls(t, &good)
	old.MaxVersion = tls.VersionTLS12
	if err := shake(n.address, old); err == nil {
		t.Error("TLS 1.2: the handshake passed")
	}
}

func ptr[T any](v T) *T { return &v }

func (*authority) selfSigned(t *testing.T) config.KeyPair {
	a := newAuthority(t, "me")
	return a.client(t, nil, machine.RoleAdmin)
}

// shake makes a handshake and asks. With TLS 1.3 a client learns only by reading that its certificate was refused.
func shake(address string, c *tls.Config) error {
	conn, err := tls.Dial("tcp", address, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	b := make([]byte, 12)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if string(b) != "HTTP/1.1 200" {
		return errors.New(string(b))
	}
	return nil
}

func TestNoSessionIsResumed(t *testing.T) {
	n := newNode(t, nil)
	pair := n.ca.client(t, nil, machine.RoleAdmin)
	c := n.tls(t, &pair)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 3 {
		conn, err := tls.Dial("tcp", n.address, c)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed: its certificate was not looked at")
		}
		conn.Close()
	}
}

func TestTheServerShowsTheNameThatClientsVerify(t *testing.T) {
	n := newNode(t, nil)
	if _, err := n.dial(t, machine.RoleReadOnly).Version(within(t, 10*time.Second)); err != nil {
		t.Errorf("Version = %v", err)
	}
	// A machine of another cluster is not taken for this one.
	other := newAuthority(t, "other")
	pair := n.ca.client(t, nil, machine.RoleAdmin)
	c, err := machine.Dial(machine.Config{Address: n.address, CA: []byte(other.pair.Cert), Cert: []byte(pair.Cert), Key: []byte(pair.Key)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var unknown x509.UnknownAuthorityError
	if _, err := c.Version(within(t, 10*time.Second)); !errors.As(err, &unknown) {
		t.Errorf("Version with another CA = %v, want x509.UnknownAuthorityError", err)
	}
}

// each asks every route of the table.
func each(t *testing.T, client *http.Client, base string, f func(x route, status int, body string)) {
	t.Helper()
	for _, x := range routes {
		path := strings.NewReplacer("{service}", "nosuch").Replace(x.path)
		req, err := http.NewRequestWithContext(within(t, 20*time.Second), x.method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", x.method, path, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		f(x, resp.StatusCode, string(body))
	}
}

func TestACertificateWithoutARoleMayDoNothing(t *testing.T) {
	n := newNode(t, nil)
	for _, roles := range [][]string{nil, {"Admin"}, {"administrators", "readonly"}} {
		each(t, n.http(t, true, roles...), "https://"+n.address, func(x route, status int, body string) {
			if status != http.StatusForbidden {
				t.Errorf("roles %q: %s %s = %d %s, want 403", roles, x.method, x.path, status, body)
			}
		})
	}
	if a := n.asks(); len(a) > 0 {
		t.Errorf("PID 1 was asked %v", a)
	}
}

func TestTheRoleReadOnlyChangesNothing(t *testing.T) {
	n := newNode(t, nil)
	admin := 0
	each(t, n.http(t, true, machine.RoleReadOnly), "https://"+n.address, func(x route, status int, body string) {
		if x.admin {
			admin++
		}
		if got := status == http.StatusForbidden; got != x.admin {
			t.Errorf("%s %s = %d %s, want 403 only if it is the administrator's: %v", x.method, x.path, status, body, x.admin)
		}
		if x.method != http.MethodGet && !x.admin {
			t.Errorf("%s %s changes something and is everybody's", x.method, x.path)
		}
	})
	if admin < 10 {
		t.Errorf("%d routes are the administrator's", admin)
	}
	if a := n.asks(); len(a) > 0 {
		t.Errorf("PID 1 was asked %v", a)
	}
}

func TestACertificateThatExpiresWhileItsConnectionLivesIsRefused(t *testing.T) {
	var late atomic.Bool
	n := newNode(t, func(n *node) {
		n.Now = func() time.Time {
			if late.Load() {
				return time.Now().Add(2 * time.Hour)
			}
			return time.Now()
		}
	})
	client := n.http(t, true, machine.RoleReadOnly)
	get := func() int {
		resp, err := client.Get("https://" + n.address + "/v1/version")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if got := get(); got != http.StatusOK {
		t.Fatalf("status = %d, want 200", got)
	}
	late.Store(true)
	if got := get(); got != http.StatusUnauthorized {
		t.Errorf("status on the same connection, certificate expired = %d, want 401", got)
	}
}

func TestWhatIsNotThereIsSaidInJSON(t *testing.T) {
	n := newNode(t, nil)
	client := n.http(t, true, machine.RoleAdmin)
	for _, x := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/v1/", 404}, {"GET", "/v2/version", 404}, {"GET", "/v1/logs/", 404}, {"GET", "/healthz", 404},
		{"DELETE", "/v1/version", 405}, {"POST", "/v1/config", 405}, {"GET", "/v1/reboot", 405},
		{"GET", "/v1/logs/..%2f..%2fetc%2fpasswd", 404}, {"GET", "/v1/logs/nosuch", 404},
		{"GET", "/v1/dmesg?follow=maybe", 400}, {"GET", "/v1/events?after=-1", 400},
	} {
		req, err := http.NewRequest(x.method, "https://"+n.address+x.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != x.want || resp.Header.Get("Content-Type") != "application/json" || !strings.Contains(string(body), `"error":"`) {
			t.Errorf("%s %s = %d %s %s, want %d with an error in JSON", x.method, x.path, resp.StatusCode, resp.Header.Get("Content-Type"), body, x.want)
		}
	}
}

func TestTheSocketIsRootsAlone(t *testing.T) {
	n := newNode(t, nil)
	info, err := netFile(n.socket)
	if err != nil || info != 0o600 {
		t.Errorf("mode of the socket = %o, %v, want 600", info, err)
	}
	if err := machine.Local(n.socket).Reboot(context.Background()); err != nil {
		t.Errorf("Reboot on the socket = %v: a process of the node is its administrator", err)
	}
	if _, err := net.Dial("unix", n.socket); err != nil {
		t.Error(err)
	}
}
