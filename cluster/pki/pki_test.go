package pki

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
)

var now = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

func testCA(t *testing.T, name string) (*CA, config.KeyPair) {
	t.Helper()
	pair, err := NewCA(name, now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ParseCA(pair)
	if err != nil {
		t.Fatal(err)
	}
	return ca, pair
}

var serving = Request{
	CommonName: "kube-apiserver", Server: true,
	DNSNames: []string{"kubernetes", "localhost"},
	IPs:      []netip.Addr{netip.MustParseAddr("10.43.0.1"), netip.MustParseAddr("fd00::1")},
}

func leaf(t *testing.T, pair config.KeyPair) *x509.Certificate {
	t.Helper()
	cert, err := parse(pair)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func TestIssuedCertificateVerifiesAtAnyTimeFromEpoch(t *testing.T) {
	ca, _ := testCA(t, "server-ca")
	pair, err := ca.Issue(serving, now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertPEM())
	for _, tc := range []struct {
		name string
		at   time.Time
		ok   bool
	}{
		{"clock not set yet", Epoch.Add(time.Hour), true},
		{"at issue", now, true},
		{"last day", now.Add(Lifetime - time.Hour), true},
		{"after its end", now.Add(Lifetime + time.Hour), false},
	} {
		for _, host := range []string{"localhost", "10.43.0.1", "fd00::1"} {
			_, err := leaf(t, pair).Verify(x509.VerifyOptions{Roots: pool, CurrentTime: tc.at, DNSName: host})
			if (err == nil) != tc.ok {
				t.Errorf("%s: Verify(%s at %s) = %v, want ok=%v", tc.name, host, tc.at, err, tc.ok)
			}
		}
	}
}

func TestIssueWithClockBeforeEpochIsValidBeforeAndAfterClockIsSet(t *testing.T) {
	ca, _ := testCA(t, "ca")
	wrong := time.Unix(3600, 0)
	pair, err := ca.Issue(serving, wrong)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, pair)
	if cert.NotBefore.After(wrong) || cert.NotAfter.Before(Epoch.Add(Lifetime)) {
		t.Errorf("Issue at %s: valid [%s, %s], want to hold then and until %s", wrong, cert.NotBefore, cert.NotAfter, Epoch.Add(Lifetime))
	}
}

func TestIssueRefusesIncompleteRequests(t *testing.T) {
	ca, _ := testCA(t, "ca")
	for name, r := range map[string]Request{
		"no name":     {Client: true},
		"no usage":    {CommonName: "x"},
		"server bare": {CommonName: "x", Server: true},
		"bad address": {CommonName: "x", Server: true, IPs: []netip.Addr{{}}},
	} {
		if _, err := ca.Issue(r, now); err == nil {
			t.Errorf("Issue(%s) = nil error, want one", name)
		}
	}
}

func TestParseCARefuses(t *testing.T) {
	_, a := testCA(t, "a")
	ca, b := testCA(t, "b")
	notCA, err := ca.Issue(serving, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]config.KeyPair{
		"empty":       {},
		"foreign key": {Cert: a.Cert, Key: b.Key},
		"not a CA":    notCA,
	} {
		if _, err := ParseCA(pair); err == nil {
			t.Errorf("ParseCA(%s) = nil error, want one", name)
		}
	}
}

func TestEnsureReissuesOnlyWhenNeeded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	ca, _ := testCA(t, "ca")
	other, _ := testCA(t, "ca") // same name, other key
	moved := serving
	moved.IPs = []netip.Addr{netip.MustParseAddr("10.43.0.1"), netip.MustParseAddr("192.168.1.9")}
	foreign, err := other.Issue(serving, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		before func() error
		ca     *CA
		req    Request
		at     time.Time
		reason string // prefix; empty: kept
	}{
		{"first", nil, ca, serving, now, "missing"},
		{"again", nil, ca, serving, now, ""},
		{"order of names", nil, ca, Request{CommonName: serving.CommonName, Server: true, DNSNames: []string{"localhost", "kubernetes"}, IPs: serving.IPs}, now, ""},
		{"just fresh enough", nil, ca, serving, now.Add(Lifetime - RenewBefore), ""},
		{"too old", nil, ca, serving, now.Add(Lifetime - RenewBefore + time.Second), "ends "},
		{"address changed", nil, ca, moved, now, "IP addresses were"},
		{"cut short", func() error { return os.WriteFile(filepath.Join(dir, "api.crt"), []byte("-----BEGIN"), 0o600) }, ca, moved, now, "damaged"},
		{"key of another pair", func() error { return os.WriteFile(filepath.Join(dir, "api.key"), []byte(foreign.Key), 0o600) }, ca, moved, now, "damaged"},
		{"other CA of the same name", func() error { return Save(dir, "api", foreign) }, ca, serving, now, "signed by another CA"},
		{"at last", nil, ca, serving, now, ""},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		reason, err := Ensure(dir, "api", step.ca, step.req, step.at)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.reason == "" && reason != "" || !strings.HasPrefix(reason, step.reason) {
			t.Errorf("%s: Ensure() = %q, want %q", step.name, reason, step.reason)
		}
	}
	for _, f := range []string{"api.crt", "api.key"} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("mode of %s = %v, want 0600", f, info.Mode())
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
