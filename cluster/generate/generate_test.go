//go:build unix

package generate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestNewMakesAWorkingCluster(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "homelab")
	files, err := New(dir, Options{Name: "homelab", Endpoints: []string{"10.0.0.10", "pi.lan:7443", "[2001:db8::1]:6443"}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(files, names) {
		t.Errorf("New = %v, want %v", files, names)
	}
	for _, name := range append([]string{"."}, names...) {
		want := fs.FileMode(0o600)
		switch {
		case name == ".":
			want = 0o700
		case strings.HasSuffix(name, ".pub"):
			want = 0o644
		}
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("Stat(%s) = %v, %v, want mode %o", name, st, err, want)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatalf("Load(server.yaml): %v", err)
	}
	if cfg.Hostname != "homelab" || !slices.Equal(cfg.Cluster.TLSSANs, []string{"10.0.0.10", "pi.lan", "2001:db8::1"}) {
		t.Errorf("server.yaml: hostname %q, tls-san %q", cfg.Hostname, cfg.Cluster.TLSSANs)
	}
	agent, err := config.Validate(filepath.Join(dir, "agent.yaml"))
	if err != nil || agent.Cluster.Server != "https://10.0.0.10:6443" {
		t.Errorf("Validate(agent.yaml) = %+v, %v", agent, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cfg.Secrets.MachineCA.Cert))
	for _, at := range []time.Time{now, now.Add(AdminLifetime - time.Hour)} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("client.crt at %s: %v", at, err)
		}
	}
	if o := pair.Leaf.Subject.Organization; !slices.Equal(o, []string{"admin"}) {
		t.Errorf("client.crt: organization %q, want admin", o)
	}
	if block, _ := pem.Decode([]byte(cfg.Secrets.ServerCA.Cert)); block == nil {
		t.Error("server CA is not PEM")
	}
	ids := map[string]bool{}
	for _, name := range []string{config.ReleasePublic, config.NextReleasePublic} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		key, err := bundle.ParsePublicKey(string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ids[key.KeyID()] = true
	}
	if len(ids) != 2 {
		t.Errorf("the release keys have the ids %v, want two", ids)
	}
	for _, name := range []string{config.ReleaseKey, config.NextReleaseKey} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.ParsePrivateKey(text, nil); err != nil {
			t.Errorf("%s: %v, want a key without a password", name, err)
		}
	}
}

func TestNewNeverWritesOverACluster(t *testing.T) {
	for _, name := range names {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(dir, Options{Name: "homelab", Now: now}); !errors.Is(err, ErrExists) {
			t.Errorf("New over %s = %v, want ErrExists", name, err)
		}
		// Even when the file appears after the first look.
		if err := writeInto(dir, []file{{"other", nil}, {name, []byte("new")}}); !errors.Is(err, ErrExists) {
			t.Errorf("writeInto over %s = %v, want ErrExists", name, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("ReadDir = %v, %v, want %s alone", entries, err, name)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
			t.Errorf("%s = %q, %v, want it untouched", name, data, err)
		}
	}
}

func TestNewRefusesBadNames(t *testing.T) {
	for _, o := range []Options{
		{Name: "Home Lab"}, {Name: ""}, {Name: "a", Hostname: "a_b"},
		{Name: "a", Endpoints: []string{"https://a"}}, {Name: "a", Endpoints: []string{"a:0"}},
		{Name: "a", Endpoints: []string{"a b"}}, {Name: "a", Endpoints: []string{""}},
	} {
		dir := filepath.Join(t.TempDir(), "x")
		if _, err := New(dir, o); err == nil {
			t.Errorf("New(%+v) = nil, want an error", o)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("New(%+v) left %s behind", o, dir)
		}
	}
}
