package generate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
)

// The files that give access to the machine API, all PEM.
const (
	// MachineCAFile is the machine CA's certificate, which both sides' are signed by.
	MachineCAFile = "machine-ca.crt"
	// ClientCertFile and ClientKeyFile are the client's certificate and its key.
	ClientCertFile = "client.crt"
	ClientKeyFile  = "client.key"
)

// clientName is what the user of a machine API certificate may be called.
var clientName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9@._-]{0,62}[A-Za-z0-9])?$`)

// MachineClient makes dir with a client certificate for the machine API, and returns the names of its files. name tells whose it is in
// the nodes' logs; role is its organization, which is all that the nodes look at. It is valid for lifetime from now on, but not longer
// than the machine CA. A file that is there is never written over (fs.ErrExist).
func MachineClient(dir string, s *config.Secrets, name, role string, lifetime time.Duration, now time.Time) ([]string, error) {
	if !clientName.MatchString(name) {
		return nil, fmt.Errorf("name %q: expected letters, digits, \".\", \"_\", \"-\" and \"@\", at most 64", name)
	}
	if s == nil || s.MachineCA.Key == "" {
		return nil, errors.New("the configuration has no machine CA: expected server.yaml with its secrets.yaml")
	}
	pair, err := issueClient(s.MachineCA, name, role, lifetime, now)
	if err != nil {
		return nil, err
	}
	files := []file{{MachineCAFile, []byte(s.MachineCA.Cert)}, {ClientCertFile, []byte(pair.Cert)}, {ClientKeyFile, []byte(pair.Key)}}
	var names []string
	for _, f := range files {
		names = append(names, f.name)
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
			return nil, fmt.Errorf("%s: %w; choose another folder", filepath.Join(dir, f.name), os.ErrExist)
		}
	}
	return names, write(dir, files)
}

// issueClient makes a client certificate that is valid for lifetime.
func issueClient(ca config.KeyPair, user, group string, lifetime time.Duration, now time.Time) (config.KeyPair, error) {
	issuer, err := pki.ParseCA(ca)
	if err != nil {
		return config.KeyPair{}, err
	}
	return issuer.IssueFor(pki.Request{CommonName: user, Organizations: []string{group}, Client: true}, lifetime, now)
}
