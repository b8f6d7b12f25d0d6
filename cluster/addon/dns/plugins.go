package dns

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/any"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/cancel"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/local"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/nsid"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/secondary"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/transfer"
	_ "github.com/coredns/coredns/plugin/view"
	_ "github.com/coredns/coredns/plugin/whoami"
	"github.com/keelson-os/keelson/cluster/address"
	"github.com/miekg/dns"
)

// Directives of this package. They are written by corefile only.
const (
	guardDirective   = "keelson_guard"
	clusterDirective = "keelson_cluster"
	offlineDirective = "keelson_offline"
	// kubernetesDirective is upstream's. Its setup would take over klog's logger for the
	// whole process and make informers of its own at each reload, so nobody may use it; it is
	// in the list because CoreDNS finds handlers by the names there, and cluster's handler
	// is called so.
	kubernetesDirective = "kubernetes"
)

// directives lists what a Corefile may have, in the order of CoreDNS's plugin.cfg, in which a
// question passes them. Left out is what listens on a port of its own (health, ready,
// prometheus, bind), ends or replaces the process (loop, reload), or weighs much (tls, etcd).
func directives() []string {
	return []string{
		guardDirective, "metadata", "cancel", "timeouts", "nsid", "bufsize", "errors", "log", "local", "dns64", "any",
		"loadbalance", "rewrite", "autopath", "acl", "cache", "header", "minimal", "template", "transfer", "hosts",
		kubernetesDirective, clusterDirective, "file", "secondary", "forward", offlineDirective, "whoami", "view",
	}
}

// available are the directives that users can have.
func available() []string {
	list := slices.DeleteFunc(directives(), reserved)
	slices.Sort(list)
	return list
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "keelson_") || name == kubernetesDirective
}

// engines holds the engines that load a Corefile. Caddy calls a directive's setup with the
// directive's text only, so the text names the engine.
var engines sync.Map // string → *engine

// lastEngine makes the names.
var lastEngine atomic.Int64

// register sets what CoreDNS and caddy keep per process. Only the first call does.
func register(l *slog.Logger) { once.Do(func() { registerWith(l) }) }

var once sync.Once

func registerWith(l *slog.Logger) {
	dnsserver.Directives = directives()
	dnsserver.Quiet, caddy.Quiet = true, true
	caddy.AppName = "Keelson"
	log.SetFlags(0)
	log.SetOutput(logWriter{l})
	plugin.Register(guardDirective, withEngine((*engine).setupGuard))
	plugin.Register(clusterDirective, withEngine((*engine).setupCluster))
	plugin.Register(offlineDirective, func(c *caddy.Controller) error {
		dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return offline{} })
		return nil
	})
}

// withEngine is the setup of a directive whose argument names the engine.
func withEngine(setup func(*engine, *caddy.Controller) error) caddy.SetupFunc {
	return func(c *caddy.Controller) error {
		c.Next()
		c.NextArg()
		e, ok := engines.Load(c.Val())
		if !ok {
			return c.Errf("no engine %q", c.Val())
		}
		return setup(e.(*engine), c)
	}
}

// sources says who may ask.
type sources struct {
	networks []netip.Prefix // of pods and Services
	own      atomic.Pointer[[]netip.Addr]
}

func newSources(networks ...netip.Prefix) *sources {
	s := &sources{networks: networks}
	s.own.Store(&[]netip.Addr{address.Stable})
	return s
}

// set replaces the node's own addresses.
func (s *sources) set(own []netip.Addr) { s.own.Store(&own) }

// allow is true for pods, which kube-proxy does not masquerade, and for the node itself: a
// process on the node asks the Service from whichever own address its route has, and
// kube-proxy, which masquerades what is not a pod, puts another own address in its place.
func (s *sources) allow(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() || a == address.Stable || slices.Contains(*s.own.Load(), a) {
		return true
	}
	return slices.ContainsFunc(s.networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// guard is the first plugin of every server block. It drops, without an answer, what does
// not come from the cluster: the port is open on all of the node's networks, and an open
// resolver there could be abused.
//
// It also answers the engine, which asks whether it has started.
type guard struct {
	next    plugin.Handler
	sources *sources
	started string // the name that the engine asks for
}

func (guard) Name() string { return guardDirective }

// ServeDNS passes on what may be asked.
func (g guard) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if from, ok := source(w.RemoteAddr()); ok && g.sources.allow(from) {
		if from.IsLoopback() && len(r.Question) == 1 && r.Question[0].Name == g.started {
			return dns.RcodeSuccess, w.WriteMsg(new(dns.Msg).SetReply(r))
		}
		return plugin.NextOrFailure(g.Name(), g.next, ctx, w, r)
	}
	if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
		_ = w.Close() // a stranger's connection must not stay; that it was gone already is as good
	}
	return dns.RcodeSuccess, nil // CoreDNS takes it that an answer was written
}

func source(a net.Addr) (netip.Addr, bool) {
	switch a := a.(type) {
	case *net.UDPAddr:
		return netip.AddrFromSlice(a.IP)
	case *net.TCPAddr:
		return netip.AddrFromSlice(a.IP)
	}
	return netip.Addr{}, false
}

// setupGuard puts guard first in every server block, the user's too, and turns the port 53
// of their keys, which is the Service's, into the one that is listened on. Any other port and
// protocol is refused: it would be open on the node's networks.
func (e *engine) setupGuard(c *caddy.Controller) error {
	started := e.startedName()
	dnsserver.AddPluginToAllServerBlocks(c, func(next plugin.Handler) plugin.Handler {
		return guard{next: next, sources: e.sources, started: started}
	})
	for block, keys := range e.keys {
		for key := range keys {
			at := *c
			at.ServerBlockIndex, at.ServerBlockKeyIndex = block, key
			cfg := dnsserver.GetConfig(&at)
			if cfg.Transport != "dns" || cfg.Port != "53" {
				return fmt.Errorf("server block %s://%s:%s: only DNS on port 53 is reached through the Service kube-dns; leave protocol and port out", cfg.Transport, cfg.Zone, cfg.Port)
			}
			cfg.Port = strconv.Itoa(e.port)
		}
	}
	return nil
}

// setupCluster adds the one Kubernetes handler that the engine has.
func (e *engine) setupCluster(c *caddy.Controller) error {
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler { return e.cluster.handler(next) })
	return nil
}

// offline answers what nobody else does while the node knows no name server: at once, and
// without an error that would be logged for each question.
type offline struct{}

func (offline) Name() string { return offlineDirective }

// ServeDNS says that the server cannot answer now.
func (offline) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeServerFailure, nil
}

// logWriter takes the standard logger's lines, to which CoreDNS and caddy write: level in
// brackets, text. Their information is dropped, but not what the plugin log says, which is
// the only one without its name in front.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	level, text := slog.LevelInfo, strings.TrimSpace(string(line))
	if tag, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(tag, "[") {
		switch tag[1:] {
		case "INFO":
			if strings.HasPrefix(rest, "plugin/") || strings.HasPrefix(rest, "Reloading") {
				return len(line), nil
			}
			text = rest
		case "WARNING":
			level, text = slog.LevelWarn, rest
		case "ERROR", "FATAL", "PANIC":
			level, text = slog.LevelError, rest
			// What is refused is reported once, with its ConfigMap: see DNS.refuse.
			if strings.HasPrefix(rest, "Restart failed:") {
				return len(line), nil
			}
		case "DEBUG":
			return len(line), nil
		}
	}
	w.log.Log(context.Background(), level, text)
	return len(line), nil
}
