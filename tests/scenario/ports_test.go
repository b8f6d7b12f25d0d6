package scenario

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

const (
	kubeletPort = 10250
	dnsPort     = 10053
)

// forwardPorts makes what ports asks reachable, beside the API servers.
func forwardPorts(c *qemu.Config) {
	c.Forwards = append(c.Forwards, qemu.Forward{Guest: kubeletPort}, qemu.Forward{Guest: dnsPort})
}

// ports compares every port that the node has open with the first table of docs/security.md, and asks for answers without credentials.
func ports(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	documented := documentedPorts(t)
	open := openPorts(t, ctx, n)
	t.Logf("open: %q", open)
	for _, p := range open {
		if !slices.Contains(documented, p) {
			t.Errorf("port %s is open and not in docs/security.md", p)
		}
	}
	// Of those that a configuration may close, none is closed here.
	for _, p := range []string{"6440/tcp", "6443/tcp", "10250/tcp", "10053/tcp", "10053/udp", "8472/udp"} {
		if !slices.Contains(documented, p) || !slices.Contains(open, p) {
			t.Errorf("port %s: open ones are %q, documented ones %q, want it in both", p, open, documented)
		}
	}

	for _, c := range []struct {
		guest  int
		path   string
		status int // 0: not even a TLS connection
	}{
		{harness.MachineAPI, "/v1/version", 0},
		{harness.MachineAPI, "/", 0},
		{harness.API, "/livez", http.StatusOK},
		{harness.API, "/readyz", http.StatusOK},
		{harness.API, "/healthz", http.StatusOK},
		{harness.API, "/", http.StatusUnauthorized},
		{harness.API, "/version", http.StatusUnauthorized},
		{harness.API, "/metrics", http.StatusUnauthorized},
		{harness.API, "/api/v1/pods", http.StatusUnauthorized},
		{harness.API, "/openapi/v3", http.StatusUnauthorized},
		{harness.API, "/.well-known/openid-configuration", http.StatusUnauthorized},
		{kubeletPort, "/pods", http.StatusUnauthorized},
		{kubeletPort, "/healthz", http.StatusUnauthorized},
		{kubeletPort, "/metrics", http.StatusUnauthorized},
		{kubeletPort, "/run/default/probe/probe", http.StatusUnauthorized},
	} {
		url := fmt.Sprintf("https://127.0.0.1:%d%s", n.Port(c.guest), c.path)
		got, err := statusWithout(ctx, url)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			t.Errorf("port %d, %s: no answer at all: %v", c.guest, c.path, err)
		case c.status == 0 && err == nil:
			t.Errorf("port %d, %s: status %d without credentials, want no connection", c.guest, c.path, got)
		case c.status != 0 && (err != nil || got != c.status):
			t.Errorf("port %d, %s: status %d, %v, want %d", c.guest, c.path, got, err, c.status)
		}
	}

	// A resolver of another network than the pods' gets no answer, not even that there is no such name.
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", n.Port(dnsPort)))
	}}
	found, err := resolver.LookupHost(limit, "kubernetes.default.svc.cluster.local.")
	var answer *net.DNSError
	if err == nil || errors.As(err, &answer) && answer.IsNotFound {
		t.Errorf("the cluster's DNS answers from outside: %v, %v", found, err)
	}
}

// statusWithout gets a page without credentials, from a server that may be anybody.
func statusWithout(ctx context.Context, url string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// documentedPorts are the ports, as "6440/tcp", of the first table of docs/security.md.
func documentedPorts(t *testing.T) []string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n| port |")
	table, _, ok := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatal("docs/security.md has no table of ports")
	}
	var out []string
	for _, row := range strings.Split(table, "\n")[1:] {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		out = append(out, regexp.MustCompile(`\b\d+/(tcp|udp)\b`).FindAllString(cell, -1)...)
	}
	return out
}

// openPorts are the ports, as "6440/tcp", on which sockets in PID 1's network namespace take what other machines send: Linux's own list of
// them, which misses none as a scan may, whose packets get lost. What listens on loopback or on the node's internal address is not in it.
func openPorts(t *testing.T, ctx context.Context, n *harness.Node) []string {
	t.Helper()
	var out []string
	for _, list := range []struct{ file, state string }{{"tcp", "0A"}, {"tcp6", "0A"}, {"udp", "07"}, {"udp6", "07"}} { // TCP_LISTEN, TCP_CLOSE
		for _, address := range strings.Fields(inProbe(t, ctx, n, `awk '$4 == "`+list.state+`" {print $2}' /proc/1/net/`+list.file)) {
			a, err := kernelAddress(address)
			if err != nil {
				t.Fatalf("/proc/net/%s: %q: %v", list.file, address, err)
			}
			if ip := a.Addr().Unmap(); !ip.IsLoopback() && ip != netip.MustParseAddr("192.0.0.8") {
				out = append(out, fmt.Sprintf("%d/%s", a.Port(), list.file[:3]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kernelAddress reads an address as /proc/net/tcp has it: 32-bit words in the byte order of the machine, little-endian here.
func kernelAddress(text string) (netip.AddrPort, error) {
	host, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if !ok || len(b)%4 != 0 {
		return netip.AddrPort{}, errors.New("want an address and a port")
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, errors.New("want 4 or 16 bytes")
	}
	p, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(ip, uint16(p)), err
}
