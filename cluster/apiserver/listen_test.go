package apiserver

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestListenServesBothAddresses(t *testing.T) {
	l, err := listen(t.Context(), netip.MustParseAddr("127.0.0.2"), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		client, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := net.SplitHostPort(server.LocalAddr().String()); got != host {
			t.Errorf("connection to %s arrived at %s", host, got)
		}
		if err := errors.Join(client.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	}
	if c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.3", port)); err == nil {
		t.Errorf("127.0.0.3 answers, want it closed (%v)", c.Close())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v, want net.ErrClosed", err)
	}
}

// TestListenDoesNotNeedTheAddressYet: a lease may come after the start.
func TestListenDoesNotNeedTheAddressYet(t *testing.T) {
	l, err := listen(t.Context(), netip.MustParseAddr("198.51.100.7"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
