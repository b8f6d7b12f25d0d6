package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/address"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// freePort returns a port that is free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if free(port) == nil {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func ask(network string, port int, name string, kind uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	c := dns.Client{Net: network, Timeout: 2 * time.Second}
	r, _, err := c.Exchange(m, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return r, err
}

// lookup is what an A question is answered with: an address, or the code.
func lookup(port int, name string) string {
	r, err := ask("udp", port, name, dns.TypeA)
	switch {
	case err != nil:
		return err.Error()
	case r.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[r.Rcode]
	}
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String()
		}
	}
	return "no address"
}

// eventually polls: what is waited for comes from other goroutines and sockets.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func answers(t *testing.T, port int, name, want string) {
	t.Helper()
	eventually(t, "answer for "+name, func() error {
		if got := lookup(port, name); got != want {
			return fmt.Errorf("lookup(%s) = %s, want %s", name, got, want)
		}
		return nil
	})
}

// node is a DNS that runs against a fake API.
type node struct {
	client    *fake.Clientset
	port      int
	resolv    string
	addresses chan address.Addresses
}

func start(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{client: fake.NewSimpleClientset(), port: freePort(t), resolv: filepath.Join(dir, "resolv.conf"), addresses: make(chan address.Addresses, 1)}
	n.addresses <- address.Addresses{Primary: netip.MustParseAddr("192.168.1.7"), All: []netip.Addr{netip.MustParseAddr("192.168.1.7")}}
	d := newDNS(Options{
		NodeName: "pi", Dir: filepath.Join(dir, "coredns"), ResolvConf: n.resolv, ClusterDNS: netip.MustParseAddr("10.43.0.10"), ClusterDomain: "cluster.local",
		Client: n.client, Server: true, Addresses: n.addresses, Log: slog.New(slog.DiscardHandler),
	}, n.port)
	d.look = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end with its context")
		}
	})
	limit, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if err := d.Ready(limit); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) put(t *testing.T, name string, data map[string]string) {
	t.Helper()
	api := n.client.CoreV1().ConfigMaps(Namespace)
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace}, Data: data}
	_, err := api.Update(t.Context(), c, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(t.Context(), c, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) event(t *testing.T, kind, reason string, words ...string) {
	t.Helper()
	eventually(t, "event "+reason, func() error {
		list, err := n.client.CoreV1().Events(Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
	next:
		for _, e := range list.Items {
			if e.Type != kind || e.Reason != reason || e.InvolvedObject.Name != customMap {
				continue
			}
			for _, w := range words {
				if !strings.Contains(e.Message, w) {
					continue next
				}
			}
			return nil
		}
		return fmt.Errorf("events are %+v, want one with %q", list.Items, words)
	})
}

func server(zone, addr string) string {
	return zone + ":53 {\n  errors\n  hosts {\n    " + addr + " host." + zone + "\n  }\n}\n"
}

func TestBrokenCustomConfigIsReportedWhileTheOldOneServesOn(t *testing.T) {
	n := start(t)
	answers(t, n.port, "host.example.org", "SERVFAIL") // no name server, at once

	n.put(t, customMap, map[string]string{"example.server": server("example.org", "10.1.2.3")})
	answers(t, n.port, "host.example.org", "10.1.2.3")
	n.put(t, customMap, map[string]string{
		"example.server": server("example.org", "10.1.2.4"),
		"a.override":     "template IN A made.up {\n  answer \"{{ .Name }} 60 IN A 10.9.9.9\"\n}\n",
	})
	answers(t, n.port, "x.made.up", "10.9.9.9")
	answers(t, n.port, "host.example.org", "10.1.2.4")

	n.put(t, customMap, map[string]string{"example.server": server("example.org", "10.1.2.5"), "a.override": "frobnicate 3\n"})
	n.event(t, corev1.EventTypeWarning, "Refused", "a.override:1", "Unknown directive 'frobnicate'", "rewrite", "served on")
	answers(t, n.port, "x.made.up", "10.9.9.9")
	answers(t, n.port, "host.example.org", "10.1.2.4")

	// Other inputs are followed all the same.
	n.put(t, configName, map[string]string{hostsName: "10.5.5.5 nas\n"})
	answers(t, n.port, "nas", "10.5.5.5")

	n.put(t, customMap, map[string]string{"example.server": server("example.org", "10.1.2.5")})
	answers(t, n.port, "host.example.org", "10.1.2.5")
	answers(t, n.port, "x.made.up", "SERVFAIL")
	n.event(t, corev1.EventTypeNormal, "Accepted")

	if err := n.client.CoreV1().ConfigMaps(Namespace).Delete(t.Context(), customMap, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(t, n.port, "host.example.org", "SERVFAIL")
}

func TestSliceFollowsAddressAndNode(t *testing.T) {
	n := start(t)
	api := n.client.DiscoveryV1().EndpointSlices(Namespace)
	is := func(addr string) func() error {
		return func() error {
			s, err := api.Get(t.Context(), "kube-dns-pi", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(s.Endpoints) != 1 || len(s.Ports) != 2 {
				return fmt.Errorf("slice = %+v", s)
			}
			e, u, v := s.Endpoints[0], s.Ports[0], s.Ports[1]
			got := fmt.Sprintln(e.Addresses, *e.NodeName, *e.Conditions.Ready, *u.Name, *u.Protocol, *u.Port == int32(n.port), *v.Name, *v.Protocol, *v.Port == int32(n.port),
				s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy])
			if want := "[" + addr + "] pi true dns UDP true dns-tcp TCP true kube-dns keelson-dns\n"; got != want {
				return fmt.Errorf("slice = %s, want %s", got, want)
			}
			return nil
		}
	}
	eventually(t, "slice", is("192.168.1.7"))
	n.addresses <- address.Addresses{Primary: netip.MustParseAddr("192.168.2.9")}
	eventually(t, "slice at the new address", is("192.168.2.9"))
	if err := api.Delete(t.Context(), "kube-dns-pi", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "slice made again", is("192.168.2.9"))

	if _, err := n.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "pi", UID: "u1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.addresses <- address.Addresses{Primary: netip.MustParseAddr("192.168.2.10")}
	eventually(t, "owner", func() error {
		s, err := api.Get(t.Context(), "kube-dns-pi", metav1.GetOptions{})
		if err == nil && (len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != "u1") {
			err = fmt.Errorf("owners = %v, want the Node", s.OwnerReferences)
		}
		return err
	})
}

func TestSliceIsWrittenOnlyWhenDifferent(t *testing.T) {
	client := fake.NewSimpleClientset()
	e := newEndpoint(client, "pi", Port, slog.New(slog.DiscardHandler))
	for range 3 {
		if _, err := e.apply(t.Context(), address.Stable, true); err != nil {
			t.Fatal(err)
		}
	}
	writes := 0
	for _, a := range client.Actions() {
		if a.GetVerb() != "get" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes of the same slice, want 1", writes)
	}
}

func TestRemoveAsksForOurSlicesOnly(t *testing.T) {
	client := fake.NewSimpleClientset()
	if err := Remove(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	for _, a := range client.Actions() {
		d, ok := a.(clienttesting.DeleteCollectionAction)
		if !ok || d.GetNamespace() != Namespace || d.GetListRestrictions().Labels.String() != "endpointslice.kubernetes.io/managed-by=keelson-dns" {
			t.Errorf("Remove did %+v", a)
		}
	}
	if len(client.Actions()) != 1 {
		t.Errorf("Remove did %d things, want 1", len(client.Actions()))
	}
}

func TestNodeHostsAreKeptByServers(t *testing.T) {
	n := start(t)
	n.put(t, configName, map[string]string{"Corefile": "x", hostsName: "10.0.0.9 printer\n"})
	if _, err := n.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "pi"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.1.7"}, {Type: corev1.NodeHostName, Address: "pi"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(t, n.port, "pi", "192.168.1.7")
	answers(t, n.port, "printer", "10.0.0.9")
	if err := n.client.CoreV1().Nodes().Delete(t.Context(), "pi", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(t, n.port, "pi", "SERVFAIL")
	answers(t, n.port, "printer", "10.0.0.9")
}

func TestPortThatIsTakenIsWaitedFor(t *testing.T) {
	port := freePort(t)
	taken, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewSimpleClientset()
	addresses := make(chan address.Addresses, 1)
	addresses <- address.Addresses{Primary: address.Stable}
	d := newDNS(Options{NodeName: "pi", Dir: t.TempDir(), Client: client, Addresses: addresses, Log: slog.New(slog.DiscardHandler)}, port)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	ready := func() error {
		s, err := client.DiscoveryV1().EndpointSlices(Namespace).Get(ctx, "kube-dns-pi", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !*s.Endpoints[0].Conditions.Ready {
			return errNotReady
		}
		return nil
	}
	eventually(t, "an endpoint that is not ready", func() error {
		if err := ready(); err != errNotReady {
			return fmt.Errorf("got %v, want %v", err, errNotReady)
		}
		return nil
	})
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an endpoint that is ready", ready)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

var errNotReady = errors.New("endpoint is not ready")

func TestResolvConfIsFollowed(t *testing.T) {
	f := resolvFile{path: filepath.Join(t.TempDir(), "resolv.conf")}
	step := func(what, text string, changed bool) {
		t.Helper()
		gotText, got, err := f.changed()
		if err != nil || got != changed || gotText != text {
			t.Errorf("%s: changed() = %q, %v, %v, want %q, %v", what, gotText, got, err, text, changed)
		}
	}
	step("missing at first", "", true)
	step("still missing", "", false)
	for i, text := range []string{"nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n"} {
		if err := replace(f.path, text); err != nil {
			t.Fatal(err)
		}
		step(fmt.Sprint("written ", i), text, true)
		step(fmt.Sprint("unchanged ", i), "", false)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	step("gone", "", true)
}

// TestReloadsLeaveNothingBehind also counts that no question goes unanswered meanwhile.
func TestReloadsLeaveNothingBehind(t *testing.T) {
	register(slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	e := newEngine(freePort(t), newSources(), nil, filepath.Join(dir, customName))
	f := files{dir: dir}
	load := func(addr string) {
		t.Helper()
		if err := f.writeHosts(addr + " host\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.setCustom(map[string]string{"x.server": server("example.org", addr)}); err != nil {
			t.Fatal(err)
		}
		if err := e.load(e.corefile(settings{custom: f.custom, resolvers: []string{"192.0.2.1"}}, dir)); err != nil {
			t.Fatal(err)
		}
	}
	load("10.0.0.1")
	stop := make(chan struct{})
	asked := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				asked <- nil
				return
			default:
			}
			if r, err := ask("udp", e.port, "host", dns.TypeA); err != nil || len(r.Answer) != 1 {
				asked <- fmt.Errorf("%v, %v", r, err)
				return
			}
			// A connection that has not asked yet is closed by the server that goes; clients
			// connect again.
			if _, err := ask("tcp", e.port, "host", dns.TypeA); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				asked <- fmt.Errorf("tcp: %w", err)
				return
			}
		}
	}()
	for i := range 5 { // what is made once
		load(fmt.Sprintf("10.0.1.%d", i))
	}
	before := runtime.NumGoroutine()
	for i := range 30 {
		load(fmt.Sprintf("10.0.2.%d", i))
		if err := e.load("nonsense {\n}}}"); err == nil {
			t.Fatal("a broken Corefile was taken")
		}
	}
	close(stop)
	if err := <-asked; err != nil {
		t.Errorf("a question got lost: %v", err)
	}
	if got := lookup(e.port, "host.example.org"); got != "10.0.2.29" {
		t.Errorf("after the last reload: %s", got)
	}
	eventually(t, "goroutines to end", func() error {
		if n := runtime.NumGoroutine(); n > before+3 {
			stacks := make([]byte, 1<<20)
			return fmt.Errorf("%d goroutines, %d before 30 reloads:\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
		}
		return nil
	})
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	if err := free(e.port); err != nil {
		t.Errorf("port after stop: %v", err)
	}
}

// outside is an address of this machine that is not a loopback one.
func outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no other address than the loopback's")
	return ""
}

func TestNameServersComeAndGo(t *testing.T) {
	own := outside(t)
	p, err := net.ListenPacket("udp", net.JoinHostPort(own, "53")) // the only port that resolv.conf can name
	if err != nil {
		t.Skipf("no name server can be played here: %v", err)
	}
	upstream := &dns.Server{PacketConn: p, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		if q := r.Question[0]; q.Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(10, 6, 6, 6)}}
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- upstream.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := errors.Join(upstream.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	n := start(t)
	answers(t, n.port, "example.com", "SERVFAIL")
	for range 2 {
		if err := replace(n.resolv, "nameserver 10.43.0.10\nnameserver "+own+"\n"); err != nil {
			t.Fatal(err)
		}
		answers(t, n.port, "example.com", "10.6.6.6")
		if err := os.Remove(n.resolv); err != nil {
			t.Fatal(err)
		}
		answers(t, n.port, "example.com", "SERVFAIL")
	}
}

func TestStrangersGetNoAnswer(t *testing.T) {
	own := outside(t)
	n := start(t)
	n.put(t, configName, map[string]string{hostsName: "10.5.5.5 nas\n"})
	n.put(t, customMap, map[string]string{"x.server": server("example.org", "10.1.2.3")})
	answers(t, n.port, "nas", "10.5.5.5")
	answers(t, n.port, "host.example.org", "10.1.2.3")
	try := func(network, name string) error {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		_, _, err := (&dns.Client{Net: network, Timeout: 300 * time.Millisecond}).Exchange(m, net.JoinHostPort(own, strconv.Itoa(n.port)))
		return err
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, name := range []string{"nas.", "host.example.org.", "example.com."} {
			if err := try(network, name); err == nil {
				t.Errorf("%s question for %s from %s, which is not the cluster's, was answered", network, name, own)
			}
		}
	}
	n.addresses <- address.Addresses{Primary: netip.MustParseAddr(own), All: []netip.Addr{netip.MustParseAddr(own)}}
	eventually(t, "the node itself to be answered", func() error { return try("udp", "nas.") })
}
