package credentials

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/layout"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/cluster/token"
	"github.com/keelson-os/keelson/config"
)

var (
	now   = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
)

func testStore(t *testing.T) (*Store, layout.Layout) {
	t.Helper()
	dir := t.TempDir()
	l := layout.Layout{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Etc: filepath.Join(dir, "etc")}
	s := &config.Secrets{ServerToken: "serverpassword01", AgentToken: "agentpassword001"}
	var err error
	for name, into := range map[string]*config.KeyPair{"server": &s.ServerCA, "client": &s.ClientCA, "front": &s.RequestHeaderCA} {
		if *into, err = pki.NewCA(name, now); err != nil {
			t.Fatal(err)
		}
	}
	if s.ServiceAccountKey, err = pki.NewKey(); err != nil {
		t.Fatal(err)
	}
	store, err := New(l, &config.Config{Secrets: s, Cluster: config.Cluster{
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), ClusterDomain: "cluster.local", HTTPSListenPort: 6443,
		KubeconfigMode: 0o600, TLSSANs: []string{"api.example.org", "203.0.113.9"},
	}}, "pi", quiet)
	if err != nil {
		t.Fatal(err)
	}
	return store, l
}

func certificateIn(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestEnsureWritesEverythingPrivate(t *testing.T) {
	s, l := testStore(t)
	if err := s.Ensure([]netip.Addr{netip.MustParseAddr("192.0.0.8")}, now); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, root := range []string{l.Data, l.Etc} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type()&os.ModeSymlink != 0 {
				return err
			}
			count++
			info, err := d.Info()
			if err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("mode of %s = %v, want 0600", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count < 40 {
		t.Errorf("%d files, want at least 40", count)
	}
	text, err := os.ReadFile(filepath.Join(l.Server(), "node-token"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Parse(string(text))
	if err != nil || tok.User != token.UserServer || tok.Password != "serverpassword01" {
		t.Errorf("node-token = user %q, %v", tok.User, err)
	}
	if err := tok.CheckCA([]byte(s.secrets.ServerCA.Cert)); err != nil {
		t.Error(err)
	}
}

func TestServingCertificatesFollowTheAddress(t *testing.T) {
	s, l := testStore(t)
	api := filepath.Join(l.ServerTLS(), ServingAPIServer+".crt")
	kubelet := filepath.Join(l.Agent(), ServingKubelet+".crt")
	admin := filepath.Join(l.ServerTLS(), ClientAdmin+".crt")
	first, second := netip.MustParseAddr("192.0.0.8"), netip.MustParseAddr("10.1.2.3")
	if err := s.Ensure([]netip.Addr{first}, now); err != nil {
		t.Fatal(err)
	}
	adminBefore := certificateIn(t, admin).SerialNumber
	for _, host := range []string{"localhost", "kubernetes.default.svc.cluster.local", "pi", "api.example.org", "10.43.0.1", "127.0.0.1", "203.0.113.9", "192.0.0.8"} {
		if err := certificateIn(t, api).VerifyHostname(host); err != nil {
			t.Errorf("API server: %v", err)
		}
	}
	if err := s.Ensure([]netip.Addr{first, second}, now); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{api, kubelet} {
		if err := certificateIn(t, file).VerifyHostname(second.String()); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
	if certificateIn(t, admin).SerialNumber.Cmp(adminBefore) != 0 {
		t.Error("the administrator's certificate was issued anew for nothing")
	}
}

func TestMetricsCertificateHasTheServicesName(t *testing.T) {
	s, l := testStore(t)
	if err := s.Ensure(nil, now); err != nil {
		t.Fatal(err)
	}
	if err := certificateIn(t, filepath.Join(l.ServerTLS(), ServingMetrics+".crt")).VerifyHostname("metrics-server.kube-system.svc"); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesConfigurationWithoutSecrets(t *testing.T) {
	if _, err := New(layout.Default(), &config.Config{}, "pi", quiet); err == nil || !strings.Contains(err.Error(), "secrets") {
		t.Errorf("New() = %v, want an error that names the secrets", err)
	}
}
