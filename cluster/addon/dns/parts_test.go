package dns

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"
	"github.com/keelson-os/keelson/cluster/address"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoMayAsk(t *testing.T) {
	s := newSources(netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.43.0.0/16"))
	s.set([]netip.Addr{netip.MustParseAddr("192.168.1.7"), netip.MustParseAddr("2001:db8::7")})
	for from, want := range map[string]bool{
		"10.42.3.4": true, "10.43.0.1": true, "127.0.0.1": true, "::1": true, "192.168.1.7": true, "2001:db8::7": true,
		"::ffff:10.42.3.4": true, address.Stable.String(): true,
		"192.168.1.8": false, "10.44.0.1": false, "2001:db8::8": false, "8.8.8.8": false, "::ffff:192.168.1.8": false, "fe80::1%eth0": false,
	} {
		if got := s.allow(netip.MustParseAddr(from)); got != want {
			t.Errorf("allow(%s) = %v, want %v", from, got, want)
		}
		asked := false
		next := plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
			asked = true
			return dns.RcodeSuccess, nil
		})
		code, err := guard{next: next, sources: s}.ServeDNS(t.Context(), &test.ResponseWriter{RemoteIP: strings.TrimSuffix(from, "%eth0")}, new(dns.Msg))
		if asked != want || code != dns.RcodeSuccess || err != nil {
			t.Errorf("guard passed a question from %s on: %v (%d, %v), want %v", from, asked, code, err, want)
		}
	}
}

func TestResolversLeaveOutWhatCannotAnswer(t *testing.T) {
	text := "# nameserver 9.9.9.9\nsearch lan\nnameserver 192.168.1.1\nnameserver 10.43.0.10\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\n" +
		"nameserver 2001:db8::1\nnameserver 192.168.1.1\nnameserver\nnameserver none\nnameserver 0.0.0.0\n"
	got := resolvers(text, netip.MustParseAddr("10.43.0.10"))
	if want := []string{"192.168.1.1", "2001:db8::1"}; !slices.Equal(got, want) {
		t.Errorf("resolvers = %q, want %q", got, want)
	}
}

func FuzzResolvers(f *testing.F) {
	f.Add("nameserver 192.168.1.1\nnameserver ::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range resolvers(text, address.Stable) {
			if a, err := netip.ParseAddr(r); err != nil || a == address.Stable {
				t.Errorf("resolvers(%q) has %q", text, r)
			}
		}
	})
}

func TestNodeHostsKeepsForeignLines(t *testing.T) {
	node := func(name string, addrs ...corev1.NodeAddress) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: addrs}}
	}
	ip := func(a string) corev1.NodeAddress { return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a} }
	host := func(a string) corev1.NodeAddress { return corev1.NodeAddress{Type: corev1.NodeHostName, Address: a} }
	for _, tc := range []struct {
		name, old string
		earlier   []string
		nodes     []*corev1.Node
		want      string
		names     []string
	}{
		{"empty", "", nil, []*corev1.Node{node("pi", ip("10.0.0.2"), host("pi"))}, "10.0.0.2 pi\n", []string{"pi"}},
		{"in the order of addresses", "", nil, []*corev1.Node{node("b", ip("10.0.0.10")), node("a", ip("10.0.0.9"))}, "10.0.0.9 a\n10.0.0.10 b\n", []string{"a", "b"}},
		{"a host name of its own", "", nil, []*corev1.Node{node("pi", ip("10.0.0.2"), host("raspberry"))}, "10.0.0.2 pi raspberry\n", []string{"pi"}},
		{"changed address", "10.0.0.1 pi\n", []string{"pi"}, []*corev1.Node{node("pi", ip("10.0.0.2"))}, "10.0.0.2 pi\n", []string{"pi"}},
		{"line of a node from k3s", "10.0.0.1 pi\n", nil, []*corev1.Node{node("pi", ip("10.0.0.2"))}, "10.0.0.2 pi\n", []string{"pi"}},
		{"gone node", "10.0.0.1 old\n10.0.0.2 pi\n", []string{"old", "pi"}, []*corev1.Node{node("pi", ip("10.0.0.2"))}, "10.0.0.2 pi\n", []string{"pi"}},
		{"foreign lines", "10.9.9.9 nas # cellar\n\n# note\n10.0.0.2 pi\n", []string{"pi"}, []*corev1.Node{node("pi", ip("10.0.0.2"))}, "10.0.0.2 pi\n10.9.9.9 nas # cellar\n# note\n", []string{"pi"}},
		{"no address", "", nil, []*corev1.Node{node("pi")}, "", nil},
	} {
		got, names := nodeHosts(tc.old, tc.earlier, tc.nodes)
		if got != tc.want || !slices.Equal(names, tc.names) {
			t.Errorf("%s: nodeHosts = %q, %q, want %q, %q", tc.name, got, names, tc.want, tc.names)
		}
		if again, _ := nodeHosts(got, names, tc.nodes); again != got {
			t.Errorf("%s: a second time: %q, want %q", tc.name, again, got)
		}
	}
}

func FuzzNodeHosts(f *testing.F) {
	f.Add("10.0.0.1 pi\n# x\n")
	f.Fuzz(func(t *testing.T, old string) {
		nodes := []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "pi"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}}}}
		once, names := nodeHosts(old, nil, nodes)
		if twice, _ := nodeHosts(once, names, nodes); twice != once {
			t.Errorf("nodeHosts is not stable: %q, then %q", once, twice)
		}
	})
}

// TestCustomConfigIsConfined: what a user can put into the ConfigMap must not open ports,
// read the node's files or get around guard, and the error must say where and why.
func TestCustomConfigIsConfined(t *testing.T) {
	register(slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	secret := filepath.Join(dir, "token")
	if err := replace(secret, "K10secret::server:word\n"); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), customName) // as /etc/coredns/custom: lexically, link/../token is not there
	if err := os.Symlink(filepath.Join(dir, customName), link); err != nil {
		t.Fatal(err)
	}
	d := newDNS(Options{Dir: filepath.Join(dir, "run"), Log: slog.New(slog.DiscardHandler)}, freePort(t))
	d.files.dir = filepath.Join(dir)
	d.o.Dir = dir
	d.engine = newEngine(d.port, d.sources, nil, filepath.Join(dir, customName))
	t.Cleanup(func() {
		if err := d.engine.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := d.load(settings{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		custom map[string]string
		want   string // words of the error
	}{
		{"unknown", map[string]string{"a.override": "\nprometheus :9153\n"}, "a.override:2|'prometheus'|there are: acl,"},
		{"syntax", map[string]string{"a.server": "example.org {\n errors\n"}, "a.server"},
		{"twice", map[string]string{"a.override": "log\n", "b.override": "cache 5\n"}, "b.override: plugin/cache"},
		{"bad argument", map[string]string{"a.server": "example.org {\n file\n}\n"}, "a.server:2"},
		{"kubernetes", map[string]string{"a.server": "example.org {\n kubernetes cluster.local\n}\n"}, "a.server:2|'kubernetes' cannot be used"},
		{"our own", map[string]string{"a.override": "keelson_offline\n"}, "a.override:1|cannot be used"},
		{"another port", map[string]string{"a.server": "example.org:5353 {\n whoami\n}\n"}, "a.server|5353|port 53"},
		{"another protocol", map[string]string{"a.server": "tls://example.org {\n whoami\n}\n"}, "a.server|tls"},
		{"bind", map[string]string{"a.server": "example.org {\n bind 127.0.0.1\n whoami\n}\n"}, "a.server:2|'bind'"},
		{"out of the block", map[string]string{"a.override": "log\n}\n.:99 {\n whoami\n"}, "a.override|99"},
		{"the same zone twice", map[string]string{"a.server": "example.org {\n whoami\n}\n", "b.server": "example.org {\n whoami\n}\n"}, "a.server, b.server|already defined"},
		{"import a file", map[string]string{"a.override": "import " + secret + "\n"}, "a.override:1|only keys of the ConfigMap"},
		{"import upwards", map[string]string{"a.override": "import ../token\n"}, "a.override:1|only keys of the ConfigMap"},
		{"import by way of a key", map[string]string{"a.override": "import b\n", "b": "import " + secret + "\n"}, "b:1|only keys of the ConfigMap"},
		{"import by a variable", map[string]string{"a.override": "import {$NOTHING}" + secret + "\n"}, "a.override:1|environment"},
		{"read a file", map[string]string{"a.server": "example.org {\n file " + secret + "\n}\n"}, "a.server:2|a file of the node"},
		{"hosts of a file", map[string]string{"a.server": "example.org {\n hosts " + secret + "\n}\n"}, "a.server:2|a file of the node"},
		{"read upwards from a key", map[string]string{"a.server": "example.org {\n file " + link + "/../token\n}\n"}, "a.server:2|a file of the node"},
		{"import upwards from a key", map[string]string{"a.override": "import /etc/coredns/custom/../../etc/coredns/custom/x\n"}, "a.override:1|only keys of the ConfigMap"},
		{"include", map[string]string{"a.server": "example.org {\n file x.db\n}\n", "x.db": "$ORIGIN example.org.\n$include " + secret + "\n"}, "x.db|include"},
	} {
		err := d.load(settings{custom: tc.custom})
		if err == nil {
			t.Errorf("%s: taken", tc.name)
			continue
		}
		text := explain(err, tc.custom, dir)
		for w := range strings.SplitSeq(tc.want, "|") {
			if !strings.Contains(text, w) {
				t.Errorf("%s: error is %q, want %q in it", tc.name, text, w)
			}
		}
		if strings.Contains(text, "K10secret") {
			t.Errorf("%s: the error has the file's content: %q", tc.name, text)
		}
	}
	for _, tc := range []struct{ name, key, text, ask, want string }{
		{"port 53", "a.server", server("one.test", "10.0.0.1"), "host.one.test", "10.0.0.1"},
		{"no port", "a.server", "two.test {\n hosts {\n 10.0.0.2 host.two.test\n }\n}\n", "host.two.test", "10.0.0.2"},
		{"several zones", "a.server", "three.test four.test 10.0.0.0/20 {\n hosts {\n 10.0.0.3 host.four.test\n }\n}\n", "host.four.test", "10.0.0.3"},
		{"snippet", "a.server", "(s) {\n hosts {\n 10.0.0.4 host.five.test\n }\n}\nfive.test {\n import s\n}\n", "host.five.test", "10.0.0.4"},
		{"a key by its path", "a.server", "file.test {\n hosts " + link + "/a.server {\n 10.0.0.6 host.file.test\n }\n}\n", "host.file.test", "10.0.0.6"},
		{"rewrite", "a.override", "rewrite name exact six.test node\n", "six.test", "10.7.7.7"},
	} {
		if err := d.load(settings{custom: map[string]string{tc.key: tc.text}, hosts: "10.7.7.7 node\n"}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := lookup(d.port, tc.ask); got != tc.want {
			t.Errorf("%s: lookup(%s) = %s, want %s", tc.name, tc.ask, got, tc.want)
		}
	}
}

func TestDirectivesAreInUpstreamsOrderAndThere(t *testing.T) {
	register(slog.New(slog.DiscardHandler))
	// A Corefile with each of them must parse; setups are tried where they need no argument.
	for _, name := range available() {
		if _, err := caddyfile.Parse("x", strings.NewReader(".:53 {\n"+name+"\n}\n"), directives()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := newEngine(freePort(t), newSources(), nil, t.TempDir())
	for _, name := range available() {
		// "missing a plugin" is caddy's word for a directive without a setup.
		err := e.load(".:53 {\n keelson_guard " + e.name + "\n " + name + "\n}\n")
		if err != nil && strings.Contains(err.Error(), "missing a plugin") {
			t.Error(err)
		}
	}
	if err := e.stop(); err != nil {
		t.Error(err)
	}
}

func TestCorefileHasTheOrderOfK3s(t *testing.T) {
	e := &engine{name: "7"}
	custom := map[string]string{"b.override": "", "a.override": "", "z.server": "", "zone.db": ""}
	want := `.:53 {
    keelson_guard 7
    errors {
        consolidate 5m "(i/o timeout|unreachable|no route to host|connection refused|no healthy proxies)$" warning
    }
    hosts "/run/x/NodeHosts" {
        ttl 60
        reload 0s
        fallthrough
    }
    cache 30
    loadbalance
    import "/run/x/custom/a.override"
    import "/run/x/custom/b.override"
    forward . 192.168.1.1 2001:db8::1
}
import "/run/x/custom/z.server"
`
	if got := e.corefile(settings{custom: custom, resolvers: []string{"192.168.1.1", "2001:db8::1"}}, "/run/x"); got != want {
		t.Errorf("corefile = %s, want %s", got, want)
	}
	if got := e.corefile(settings{}, "/run/x"); strings.Contains(got, "forward") || !strings.Contains(got, offlineDirective) {
		t.Errorf("corefile without name servers forwards: %s", got)
	}
}

func TestLogLevels(t *testing.T) {
	for line, want := range map[string]string{
		"[INFO] plugin/hosts: read\n":                       "",
		"[INFO] Reloading\n":                                "",
		"[INFO] 10.42.0.3:44 - 1 \"A IN x. udp\" NOERROR\n": "INFO",
		"[WARNING] plugin/forward: x\n":                     "WARN",
		"[ERROR] plugin/errors: 2 x. A: timeout\n":          "ERROR",
		"somebody else's line\n":                            "INFO",
		"[DEBUG] x\n":                                       "",
	} {
		var b strings.Builder
		if _, err := (logWriter{slog.New(slog.NewTextHandler(&b, nil))}).Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, rest, ok := strings.Cut(b.String(), "level="); ok {
			got, _, _ = strings.Cut(rest, " ")
		}
		if got != want {
			t.Errorf("line %q is logged as %q, want %q", line, got, want)
		}
	}
}

func FuzzVet(f *testing.F) {
	f.Add("log\nimport /etc/shadow\n")
	f.Add("import {$A}/x\n(s) {\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		custom := map[string]string{"a.override": text}
		if err := vet(custom); err != nil {
			_ = explain(errors.Join(err), custom, "/run/x")
		}
	})
}
