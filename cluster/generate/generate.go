package generate

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/cluster/token"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// AdminLifetime is how long the certificates in kubeconfig and client.crt are valid.
// Nothing renews a file on a laptop, and a homelab that locks its owner out after a year
// is worse than a long life: the same folder holds the CAs' keys, which live longer.
const AdminLifetime = 10 * 365 * 24 * time.Hour

// DefaultEndpoint is the API's address when none is given: where "keelson run" forwards
// the API's port to.
const DefaultEndpoint = "127.0.0.1:6443"

// ErrExists means that the directory holds a cluster already.
var ErrExists = errors.New("a cluster is already there")

// Options say what the cluster is called and where it will be found.
type Options struct {
	Name      string   // names the CAs and the kubeconfig's context; an RFC 1123 label
	Hostname  string   // of the first server; default Name
	Endpoints []string // HOST or HOST:PORT where the API will be reached; the first goes into the kubeconfig
	Now       time.Time
}

// endpoint is one parsed Options.Endpoints.
type endpoint struct {
	host string
	port int
}

func (e endpoint) url() string {
	return "https://" + net.JoinHostPort(e.host, strconv.Itoa(e.port))
}

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// New makes the cluster's directory and returns the names of its files in the order to
// present them. If dir does not exist it appears whole or not at all; otherwise none of
// the files may exist (ErrExists), and what was written is removed after an error.
func New(dir string, o Options) (files []string, err error) {
	if o.Hostname == "" {
		o.Hostname = o.Name
	}
	for _, x := range []struct{ what, value string }{{"name", o.Name}, {"hostname", o.Hostname}} {
		if !label.MatchString(x.value) {
			return nil, fmt.Errorf("%s %q: expected lower-case letters, digits and \"-\", at most 63, neither beginning nor ending with \"-\"", x.what, x.value)
		}
	}
	var endpoints []endpoint
	for _, s := range o.Endpoints {
		e, err := parseEndpoint(s)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, e)
	}
	// Looked at before the keys are made, and again when the files are.
	if err := refuseExisting(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Dir(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no directory %s; make it first", filepath.Dir(dir))
	}
	contents, err := render(o, endpoints)
	if err != nil {
		return nil, err
	}
	if err := write(dir, contents); err != nil {
		return nil, err
	}
	for _, c := range contents {
		files = append(files, c.name)
	}
	return files, nil
}

func parseEndpoint(s string) (endpoint, error) {
	e := endpoint{host: s, port: 6443}
	if host, port, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return e, fmt.Errorf("endpoint %q: found port %q, expected a number from 1 to 65535", s, port)
		}
		e = endpoint{host: host, port: n}
	}
	e.host = strings.TrimSuffix(strings.TrimPrefix(e.host, "["), "]")
	if _, err := netip.ParseAddr(e.host); err == nil {
		return e, nil
	}
	for l := range strings.SplitSeq(e.host, ".") {
		if !label.MatchString(l) {
			return e, fmt.Errorf("endpoint %q: expected HOST or HOST:PORT, such as kitchen-pi.lan or 10.0.0.10:6443, without https://", s)
		}
	}
	return e, nil
}

// file is one file of the directory.
type file struct {
	name string
	data []byte
}

// names are the files of a cluster's directory.
var names = []string{
	"secrets.yaml", "server.yaml", "agent.yaml", "kubeconfig", ClientCertFile, ClientKeyFile, MachineCAFile,
	config.ReleaseKey, config.ReleasePublic, config.NextReleaseKey, config.NextReleasePublic,
}

// mode is 0600 for all files but public keys, which are there to be given away.
func mode(name string) fs.FileMode {
	if name == config.ReleasePublic || name == config.NextReleasePublic {
		return 0o644
	}
	return 0o600
}

func refuseExisting(dir string) error {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists: %w; its keys cannot be made again: choose another name, or move the directory %s away", path, ErrExists, dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// render makes all keys and files in memory.
func render(o Options, endpoints []endpoint) ([]file, error) {
	s := &config.Secrets{ServerToken: token.NewPassword(), AgentToken: token.NewPassword()}
	for _, ca := range []struct {
		name string
		into *config.KeyPair
	}{
		{"server CA", &s.ServerCA}, {"client CA", &s.ClientCA},
		{"request header CA", &s.RequestHeaderCA}, {"machine CA", &s.MachineCA},
	} {
		pair, err := pki.NewCA(o.Name+" "+ca.name, o.Now)
		if err != nil {
			return nil, err
		}
		*ca.into = pair
	}
	var err error
	if s.ServiceAccountKey, err = pki.NewKey(); err != nil {
		return nil, err
	}
	admin, err := issueClient(s.ClientCA, "keelson-admin", "system:masters", AdminLifetime, o.Now)
	if err != nil {
		return nil, err
	}
	machine, err := issueClient(s.MachineCA, o.Name+"-admin", "admin", AdminLifetime, o.Now)
	if err != nil {
		return nil, err
	}
	release, err := releaseKeys(o.Name)
	if err != nil {
		return nil, err
	}
	api := "https://" + DefaultEndpoint
	if len(endpoints) > 0 {
		api = endpoints[0].url()
	}
	return append([]file{
		{"secrets.yaml", secretsYAML(o, s)},
		{"server.yaml", serverYAML(o, endpoints)},
		{"agent.yaml", agentYAML(o, endpoints, token.Format([]byte(s.ServerCA.Cert), token.UserAgent, s.AgentToken))},
		{"kubeconfig", kubeconfig(o.Name, api, s.ServerCA.Cert, admin)},
		{ClientCertFile, []byte(machine.Cert)},
		{ClientKeyFile, []byte(machine.Key)},
		{MachineCAFile, []byte(s.MachineCA.Cert)},
	}, release...), nil
}

// releaseKeys makes the two pairs of keys that upgrades are signed with. The private ones have no password, as the folder's other keys.
func releaseKeys(cluster string) ([]file, error) {
	var files []file
	for _, pair := range []struct{ what, key, public string }{
		{"release key", config.ReleaseKey, config.ReleasePublic},
		{"next release key", config.NextReleaseKey, config.NextReleasePublic},
	} {
		_, public, secret, err := bundle.GenerateKey(cluster + " " + pair.what)
		if err != nil {
			return nil, fmt.Errorf("make the %s: %w", pair.what, err)
		}
		files = append(files, file{pair.key, secret}, file{pair.public, public})
	}
	return files, nil
}

// write puts the files into dir.
func write(dir string, files []file) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return writeInto(dir, files)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".new-") // 0700
	if err != nil {
		return err
	}
	if err := errors.Join(writeInto(tmp, files), syncDir(tmp)); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	// rename(2) replaces an empty directory that appeared meanwhile and refuses a full one.
	if err := os.Rename(tmp, dir); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return syncDir(parent)
}

// writeInto makes every file new in dir, all or none.
func writeInto(dir string, files []file) (err error) {
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}()
	for _, c := range files {
		path := filepath.Join(dir, c.name)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode(c.name))
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists: %w", path, ErrExists)
		}
		if err != nil {
			return err
		}
		made = append(made, path)
		_, err = f.Write(c.data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
