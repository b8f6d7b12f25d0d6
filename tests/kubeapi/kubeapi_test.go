package kubeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
)

const nodes = `{"items":[{"metadata":{"name":"a","uid":"u"},"status":{"conditions":[{"type":"Ready","status":"READY","message":"starting"}],
"addresses":[{"type":"Hostname","address":"a"},{"type":"InternalIP","address":"10.0.2.15"}],"nodeInfo":{"kubeletVersion":"v1"}}}]}`

// TestGeneratedKubeconfigReachesAServer serves TLS with the generated server CA and asks
// for client certificates of the generated client CA, as the API server does.
func TestGeneratedKubeconfigReachesAServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if _, err := generate.New(dir, generate.Options{Name: "c", Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.ParseCA(cfg.Secrets.ServerCA)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := ca.Issue(pki.Request{CommonName: "s", Server: true, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(serving.Cert), []byte(serving.Key))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(cfg.Secrets.ClientCA.Cert))
	clientCA, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(clientCA)
	status := "False"
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := r.TLS.PeerCertificates[0].Subject
		if s.CommonName != "keelson-admin" || len(s.Organization) != 1 || s.Organization[0] != "system:masters" || r.URL.Path != "/api/v1/nodes" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(nodes, "READY", status)))
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.StartTLS()
	defer srv.Close()

	data, err := os.ReadFile(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := New(data, ""); err != nil || c.Server() != "https://127.0.0.1:6443" {
		t.Errorf("New = %v, %v, want the default endpoint", c, err)
	}
	for _, text := range []string{string(data), strings.Replace(string(data), "https://127.0.0.1:6443", `"https://127.0.0.1:6443/"`, 1)} {
		other, err := WithServer([]byte(text), "https://[::1]:7443")
		if err != nil {
			t.Fatal(err)
		}
		if c, err := New(other, ""); err != nil || c.Server() != "https://[::1]:7443" {
			t.Errorf("New of WithServer = %v, %v, want the other URL", c, err)
		}
	}
	c, err := New(data, srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitReady = %v, want the deadline", err)
	}
	status = "True"
	got, err := c.WaitReady(t.Context())
	if want := (Node{Name: "a", UID: "u", Ready: true, Version: "v1", Address: "10.0.2.15"}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("WaitReady = %+v, %v, want %+v", got, err, want)
	}
	var se *StatusError
	if _, err := c.Raw(t.Context(), "/other"); !errors.As(err, &se) || se.Code != http.StatusForbidden {
		t.Errorf("Raw(/other) = %v, want 403", err)
	}
}
