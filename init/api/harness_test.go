package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/facts"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/machine"
)

// authority signs the certificates of a test.
type authority struct {
	pair config.KeyPair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	a.pair, a.cert, a.key = issue(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(20 * 365 * 24 * time.Hour),
	})
	return a
}

func issue(t *testing.T, by *authority, template *x509.Certificate) (config.KeyPair, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return config.KeyPair{
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}, cert, key
}

// client makes a client certificate with the given roles.
func (a *authority) client(t *testing.T, change func(*x509.Certificate), roles ...string) config.KeyPair {
	t.Helper()
	c := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "tester", Organization: roles},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	pair, _, _ := issue(t, a, c)
	return pair
}

// node is a machine API that serves, with a PID 1 that does nothing but answer.
type node struct {
	*Server
	ca      *authority
	address string
	socket  string
	dir     string

	mu       sync.Mutex
	status   control.Status
	asked    []control.Request
	block    chan struct{} // while not nil, PID 1's status waits for it
	events   control.Ring
	slots    *fakeSlots
	finished chan struct{} // Serve has returned
}

// newNode starts one; change is called before it serves.
func newNode(t *testing.T, change func(*node)) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{ca: newAuthority(t, "machine CA"), dir: dir, slots: &fakeSlots{}, finished: make(chan struct{})}
	n.status = control.Status{
		StateUp: true, Configured: true, Node: control.Node{Started: true, Ready: true, Healthy: true},
		Services:  []control.Service{{Name: "node", PID: 7, Ready: true}},
		MachineID: "0123456789abcdef0123456789abcdef",
	}
	c := &config.Config{
		Role:    config.RoleServer,
		Secrets: &config.Secrets{MachineCA: n.ca.pair, ServerToken: "server-token-password", AgentToken: "agent-token-password"},
		Cluster: config.Cluster{HTTPSListenPort: 6443, Token: "server-token-password"},
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n.Server = s
	s.Places = Places{
		Roots: facts.System, Logs: filepath.Join(dir, "log"), Config: filepath.Join(dir, "keelson/config"), State: dir,
		Data: filepath.Join(dir, "k3s"), Kubeconfig: filepath.Join(dir, "k3s.yaml"), Resolv: "/etc/resolv.conf",
		Pstore: filepath.Join(dir, "pstore"), Record: filepath.Join(dir, "keelson"),
	}
	for _, folder := range []string{s.Places.Logs, s.Places.Config, s.Places.Pstore} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Boot = handoff.Boot{Slot: "a", Disk: "none"}
	s.System = running.System{Board: "pc", Version: "1.2.3", Serial: 5, Kubernetes: "v1.37.2"}
	s.Slots = n.slots
	s.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	s.Control.Path = filepath.Join(dir, "init.sock")
	if change != nil {
		change(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.pid1(t, ctx)
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.address, n.socket = outside.Addr().String(), filepath.Join(dir, "machine.sock")
	inside, err := control.Listen(n.socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.finished)
		if err := s.Serve(ctx, outside, inside); err != nil {
			t.Errorf("Serve = %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-n.finished
	})
	return n
}

// pid1 serves the control socket.
func (n *node) pid1(t *testing.T, ctx context.Context) {
	t.Helper()
	l, err := control.Listen(n.Server.Control.Path)
	if err != nil {
		t.Fatal(err)
	}
	note := func(r control.Request) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.asked = append(n.asked, r)
		return nil
	}
	s := &control.Server{
		Status: func() control.Status {
			n.mu.Lock()
			st, block := n.status, n.block
			n.mu.Unlock()
			if block != nil {
				<-block
			}
			return st
		},
		Trial: func() *control.Trial { return nil },
		Restart: func(service, by string) error {
			return note(control.Request{Op: control.OpRestart, Service: service, By: by})
		},
		End: func(op control.Op, what, by string) error {
			return note(control.Request{Op: op, What: what, By: by})
		},
		Events: &n.events,
	}
	go s.Serve(ctx, l)
}

// asks returns what PID 1 was asked to do.
func (n *node) asks() []control.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]control.Request(nil), n.asked...)
}

func (n *node) set(change func(*control.Status)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.status)
}

// dial returns package machine's client with a certificate of this node's CA.
func (n *node) dial(t *testing.T, roles ...string) *machine.Client {
	t.Helper()
	pair := n.ca.client(t, nil, roles...)
	c, err := machine.Dial(machine.Config{Address: n.address, CA: []byte(n.ca.pair.Cert), Cert: []byte(pair.Cert), Key: []byte(pair.Key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// tls is a client's configuration with the given certificate.
func (n *node) tls(t *testing.T, pair *config.KeyPair) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(n.ca.cert)
	c := &tls.Config{RootCAs: pool, ServerName: machine.ServerName, MinVersion: tls.VersionTLS12}
	if pair != nil {
		cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// http is a plain client; HTTP/1 or HTTP/2.
func (n *node) http(t *testing.T, two bool, roles ...string) *http.Client {
	t.Helper()
	pair := n.ca.client(t, nil, roles...)
	tr := &http.Transport{TLSClientConfig: n.tls(t, &pair), ForceAttemptHTTP2: two, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!two)
	tr.Protocols.SetHTTP2(two)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// alive asserts that the server still serves.
func (n *node) alive(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := machine.Local(n.socket).Version(ctx); err != nil {
		t.Errorf("after it: Version on the socket = %v", err)
	}
}

// fakeSlots stand for a disk.
type fakeSlots struct {
	busy     bool
	upgrade  func(ctx context.Context, src Source, q machine.UpgradeRequest, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error)
	rollback func() (machine.Rollback, error)
	open     func(url string) (Source, error)
}

func (f *fakeSlots) Boot() (machine.Boot, string, error) {
	return machine.Boot{Chain: "uefi", Default: "a"}, "a", nil
}
func (f *fakeSlots) Busy() bool { return f.busy }
func (f *fakeSlots) Open(_ context.Context, url string) (Source, error) {
	if f.open == nil {
		return nil, errors.New("nothing there")
	}
	return f.open(url)
}
func (f *fakeSlots) Upgrade(ctx context.Context, src Source, q machine.UpgradeRequest, _ string, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
	if f.upgrade == nil {
		return machine.UpgradeResult{}, errors.New("no upgrade")
	}
	return f.upgrade(ctx, src, q, progress)
}
func (f *fakeSlots) Rollback(context.Context, string) (machine.Rollback, error) {
	if f.rollback == nil {
		return machine.Rollback{}, errors.New("no rollback")
	}
	return f.rollback()
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func netFile(path string) (os.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode().Perm(), nil
}
