package credentials

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/keelson-os/keelson/cluster/layout"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/cluster/token"
	"github.com/keelson-os/keelson/config"
)

// Store keeps a server's credentials. Its methods may be called concurrently.
type Store struct {
	layout   layout.Layout
	cluster  config.Cluster
	secrets  config.Secrets
	nodeName string
	log      *slog.Logger

	serverCA, clientCA, requestHeaderCA *pki.CA

	mu sync.Mutex // held while files are written
}

// New checks the secrets of a server's configuration. nodeName is the name of its Node object.
func New(l layout.Layout, c *config.Config, nodeName string, log *slog.Logger) (*Store, error) {
	if c.Secrets == nil {
		return nil, errors.New("credentials: a server needs the cluster's secrets (secrets.yaml); its configuration has none")
	}
	s := &Store{layout: l, cluster: c.Cluster, secrets: *c.Secrets, nodeName: nodeName, log: log}
	for _, ca := range []struct {
		name string
		pair config.KeyPair
		to   **pki.CA
	}{
		{"serverCA", s.secrets.ServerCA, &s.serverCA},
		{"clientCA", s.secrets.ClientCA, &s.clientCA},
		{"requestHeaderCA", s.secrets.RequestHeaderCA, &s.requestHeaderCA},
	} {
		parsed, err := pki.ParseCA(ca.pair)
		if err != nil {
			return nil, fmt.Errorf("secrets: %s: %w", ca.name, err)
		}
		*ca.to = parsed
	}
	return s, nil
}

// Ensure writes what is missing and issues what is about to end or does not fit the
// node's addresses any more. It may be called at any time; files that are good are not
// touched.
func (s *Store) Ensure(addresses []netip.Addr, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tls := s.layout.ServerTLS()
	for name, pair := range map[string]config.KeyPair{
		ServerCA:        s.secrets.ServerCA,
		ClientCA:        s.secrets.ClientCA,
		RequestHeaderCA: s.secrets.RequestHeaderCA,
	} {
		if err := pki.Save(tls, name, pair); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	if err := pki.WriteFile(filepath.Join(tls, ServiceAccountKey), []byte(s.secrets.ServiceAccountKey), 0o600); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	// Upstream reads public keys from a file of their own only.
	public, err := pki.PublicKey(s.secrets.ServiceAccountKey)
	if err != nil {
		return fmt.Errorf("secrets: service-account-key: %w", err)
	}
	if err := pki.WriteFile(filepath.Join(tls, ServiceAccountPublicKey), []byte(public), 0o600); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	// What a node without a control plane would hold; the kubelet's CA files are these.
	for name, cert := range map[string]string{ServerCA: s.secrets.ServerCA.Cert, ClientCA: s.secrets.ClientCA.Cert} {
		if err := pki.WriteFile(filepath.Join(s.layout.Agent(), name+".crt"), []byte(cert), 0o600); err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
	}
	for _, c := range s.certificates(addresses) {
		reason, err := pki.Ensure(c.dir, c.name, c.ca, c.request, now)
		if err != nil {
			return fmt.Errorf("credentials: %s: %w", c.name, err)
		}
		if reason != "" {
			s.log.Info("certificate issued", "name", c.name, "reason", reason)
		}
	}
	return errors.Join(s.kubeconfigs(), s.tokens(), s.authentication())
}

// tokens writes the join tokens as k3s does: "token" is the file, "node-token" links to it.
func (s *Store) tokens() error {
	ca := []byte(s.secrets.ServerCA.Cert)
	for name, text := range map[string]string{
		"token":       token.Format(ca, token.UserServer, s.secrets.ServerToken),
		"agent-token": token.Format(ca, token.UserAgent, s.secrets.AgentToken),
	} {
		if err := pki.WriteFile(filepath.Join(s.layout.Server(), name), []byte(text+"\n"), 0o600); err != nil {
			return err
		}
	}
	link := filepath.Join(s.layout.Server(), "node-token")
	if to, err := os.Readlink(link); err == nil && to == "token" {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink("token", link)
}

// authentication writes the API server's authentication configuration: nobody is let in
// without a certificate or a token, but health may be asked for by anyone.
func (s *Store) authentication() error {
	const text = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
`
	return pki.WriteFile(s.AuthenticationFile(), []byte(text), 0o600)
}

// AuthenticationFile is the API server's authentication configuration.
func (s *Store) AuthenticationFile() string {
	return filepath.Join(s.layout.ServerCred(), authenticationFile)
}
