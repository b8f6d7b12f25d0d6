//go:build unix

package generate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
)

func TestMachineClientIsOfTheMachineCAWithItsRoleAndLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "homelab")
	if _, err := New(dir, Options{Name: "homelab", Now: now}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(filepath.Dir(dir), "anna")
	files, err := MachineClient(out, cfg.Secrets, "anna", "read-only", 3*24*time.Hour, now)
	if err != nil || !slices.Equal(files, []string{MachineCAFile, ClientCertFile, ClientKeyFile}) {
		t.Fatalf("MachineClient = %q, %v", files, err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, ClientCertFile), filepath.Join(out, ClientKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(out, MachineCAFile))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := os.ReadFile(filepath.Join(dir, MachineCAFile)); err != nil || string(other) != string(ca) || string(ca) != cfg.Secrets.MachineCA.Cert {
		t.Errorf("the two folders and secrets.yaml do not hold the same machine CA: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	for _, tt := range []struct {
		at time.Time
		ok bool
	}{{now, true}, {now.AddDate(0, 0, 2), true}, {now.AddDate(0, 0, 4), false}} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: tt.at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if (err == nil) != tt.ok {
			t.Errorf("Verify at %s = %v, want ok %v", tt.at, err, tt.ok)
		}
	}
	if s := pair.Leaf.Subject; s.CommonName != "anna" || !slices.Equal(s.Organization, []string{"read-only"}) {
		t.Errorf("subject = %s, want anna, read-only", s)
	}
	if st, err := os.Stat(filepath.Join(out, ClientKeyFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v, want mode 0600", st, err)
	}
	if _, err := MachineClient(out, cfg.Secrets, "anna", "admin", time.Hour, now); !errors.Is(err, fs.ErrExist) {
		t.Errorf("MachineClient over another = %v, want ErrExist", err)
	}
	for _, name := range []string{"", "a\nb", "-a"} {
		if _, err := MachineClient(filepath.Join(out, "x"), cfg.Secrets, name, "admin", time.Hour, now); err == nil {
			t.Errorf("MachineClient(%q) = nil, want a refusal", name)
		}
	}
}
