package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
)

// newCluster makes a cluster's folder below the directory of the test, which has a context file of its own.
func newCluster(t *testing.T, name string) (folder string, secrets *config.Secrets) {
	t.Helper()
	if os.Getenv("KEELSON_TEST_DIR") == "" {
		dir := t.TempDir()
		t.Setenv("KEELSON_TEST_DIR", dir)
		t.Setenv(contextVariable, filepath.Join(dir, "contexts.yaml"))
		t.Chdir(dir)
	}
	folder = filepath.Join(os.Getenv("KEELSON_TEST_DIR"), name)
	if _, err := generate.New(folder, generate.Options{Name: name, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(folder, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return folder, cfg.Secrets
}

// fakeNode speaks the machine API's schema, over TLS as a node does.
type fakeNode struct {
	address string
	mux     *http.ServeMux

	mu     sync.Mutex
	status machine.Status
	asked  []string // "METHOD /path?query"
	// onStatus, if it is set, changes the status after each time it was asked for.
	onStatus func(*machine.Status)
}

// newFakeNode serves with a certificate of the cluster's machine CA.
func newFakeNode(t *testing.T, s *config.Secrets, name string) *fakeNode {
	t.Helper()
	ca, err := pki.ParseCA(s.MachineCA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Request{CommonName: name, Server: true, DNSNames: []string{machine.ServerName}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.MachineCA.Cert))
	n := &fakeNode{mux: http.NewServeMux()}
	n.status = machine.Status{
		Version: machine.Version{API: 1, Node: name, Version: "0.1.0", Serial: 5, Board: "pc", Arch: "amd64", Kubernetes: "v1.37.2", Kernel: "6.12.1", Slot: "a"},
		Next:    "a", Boot: machine.Boot{Chain: "uefi", Default: "a"}, Health: machine.Health{OK: true, Node: machine.NodeReady},
		Uptime: 5000, Memory: machine.Memory{Total: 2 << 30, Available: 1 << 30}, CPUs: 2, Load: []float64{0.5, 0.25, 0.1},
		Steps: []machine.Step{{Name: "state", Duration: 0.744, Note: "/dev/vda5"}},
	}
	n.get("/v1/status", func() any {
		s := n.now()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.onStatus != nil {
			n.onStatus(&n.status)
		}
		return s
	})
	n.get("/v1/version", func() any { return n.now().Version })
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.asked = append(n.asked, r.Method+" "+r.URL.RequestURI())
		n.mu.Unlock()
		if r.Method != http.MethodGet && !slices.Contains(r.TLS.VerifiedChains[0][0].Subject.Organization, machine.RoleAdmin) {
			fail(w, &machine.Error{Status: http.StatusForbidden, Message: `needs the role "admin"; the certificate has "read-only"`})
			return
		}
		n.mux.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2, srv.Config.ErrorLog = true, log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	n.address = srv.Listener.Addr().String()
	return n
}

func (n *fakeNode) now() machine.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	if s.Upgrade != nil {
		u := *s.Upgrade
		s.Upgrade = &u
	}
	return s
}

// set changes the status from now on.
func (n *fakeNode) set(change func(*machine.Status)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.status)
}

// reboots makes the node another boot's.
func (n *fakeNode) reboots(change func(*machine.Status)) {
	n.set(func(s *machine.Status) {
		s.Uptime = 1
		change(s)
	})
}

// then changes the status each time after it was asked for.
func (n *fakeNode) then(change func(*machine.Status)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onStatus = change
}

// was says whether the node was asked for something that begins so.
func (n *fakeNode) was(prefix string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.asked, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

func (n *fakeNode) get(path string, value func() any) {
	n.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, value()) })
}

func (n *fakeNode) text(path, text string) {
	n.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

// post answers a change.
func (n *fakeNode) post(path string, do func(r *http.Request) any) {
	n.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		v := do(r)
		if e, ok := v.(*machine.Error); ok {
			fail(w, e)
			return
		}
		reply(w, v)
	})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, e *machine.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(e)
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// mustKeelson runs the program, which must succeed.
func mustKeelson(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := keelson(t, args...)
	if err != nil {
		t.Fatalf("keelson %q: %v\n%s%s", args, err, out, errs)
	}
	return out
}

// refused runs the program, which must fail with an error that says want.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	out, errs, err := keelson(t, args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("keelson %q = %v, want an error with %q\n%s%s", args, err, want, out, errs)
	}
}
