package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads, checks and completes the configuration at path and the secrets file it
// names. Mistakes are an *Errors with all of them; a file that cannot be read is its
// *fs.PathError. Roles that no node can have yet are refused; see Validate.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.Base(path), data, beside(path))
}

// Validate is Load for somebody who only asks whether the file is right: it also accepts
// an agent's, which this version can make and check but not run.
func Validate(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p := parse(filepath.Base(path), data, beside(path))
	return p.cfg, p.err()
}

// Parse is Load without the file system: name appears in the errors, and resolve returns
// the content of the file that the key "secrets" names, exactly as it was written. A nil
// resolve refuses such a reference.
func Parse(name string, data []byte, resolve func(path string) ([]byte, error)) (*Config, error) {
	p := parse(name, data, resolve)
	p.refuseUnrunnable()
	return p.cfg, p.err()
}

// Files checks the configuration at path as Load does and returns what goes into an
// image: the bytes of FileName, and those of SecretsName, nil when the secrets are
// written in the file itself. The first are the user's own, but for a reference to a
// secrets file of another name, which becomes SecretsName in its place and line.
func Files(path string) (keelsonYAML, secretsYAML []byte, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	p := parse(filepath.Base(path), data, beside(path))
	p.refuseUnrunnable()
	if err := p.err(); err != nil {
		return nil, nil, err
	}
	if p.reference == nil || p.reference.Value == SecretsName {
		return data, p.secretsData, nil
	}
	data, err = renameReference(data, p.reference)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return data, p.secretsData, nil
}

// readFile reads a configuration file of a sane size.
func readFile(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// beside resolves references relative to the folder of the file at path.
func beside(path string) func(string) ([]byte, error) {
	return func(ref string) ([]byte, error) {
		ref = filepath.FromSlash(ref)
		if !filepath.IsAbs(ref) {
			ref = filepath.Join(filepath.Dir(path), ref)
		}
		return readFile(ref)
	}
}

// parsed is a configuration with what is needed to report on it.
type parsed struct {
	cfg         *Config
	name        string
	d           *decoder
	errs        []*Error
	reference   *yaml.Node // the value of "secrets" when it names a file
	secretsData []byte
}

// err returns all mistakes, and takes the half-read configuration away if there are any.
func (p *parsed) err() error {
	err := asError(append(p.errs, p.d.errs...), p.name)
	if err != nil {
		p.cfg = nil
	}
	return err
}

// refuseUnrunnable records what is valid but cannot be run by this version.
func (p *parsed) refuseUnrunnable() {
	const hint = "joining a cluster is not supported yet by this version of Keelson"
	if p.cfg.Role == RoleAgent {
		p.d.failAt("role", "found \"agent\": %s; use role: server", hint)
	} else if p.d.has("cluster.server") {
		p.d.fail(p.d.keys["cluster.server"], "cluster.server", "%s: remove the key", hint)
	}
}

func parse(name string, data []byte, resolve func(string) ([]byte, error)) *parsed {
	name = path.Base(filepath.ToSlash(name))
	d := newDecoder(name, false)
	p := &parsed{name: name, d: d, cfg: &Config{
		Role:    RoleServer,
		Clock:   Clock{Servers: []string{"pool.ntp.org"}},
		Cluster: defaultCluster(),
	}}
	cfg := p.cfg
	root := d.document(data)
	if root == nil {
		if len(d.errs) == 0 {
			d.fail(nil, "", "the file is empty, expected a configuration; \"keelson config new NAME\" makes one")
		}
		return p
	}
	d.values[""] = root
	if k := secretsKey(root); k != nil {
		d.fail(k, "", "this is a secrets file, not a configuration; check the server.yaml that refers to it")
		return p
	}

	var secrets *yaml.Node
	d.mapping("", root, fields{
		"role": func(at string, v *yaml.Node) {
			if s, ok := d.oneOf(at, v, string(RoleServer), string(RoleAgent)); ok {
				cfg.Role = Role(s)
			}
		},
		"hostname": func(at string, v *yaml.Node) {
			const expected = "a host name of lower-case letters, digits and \"-\", at most 63, neither beginning nor ending with \"-\" (RFC 1123)"
			s, ok := d.text(at, v, expected)
			switch {
			case !ok:
			case isLabel(s):
				cfg.Hostname = s
			case suggestLabel(s) != "":
				d.fail(v, at, "found %s, expected %s; did you mean %q?", d.found(v), expected, suggestLabel(s))
			default:
				d.fail(v, at, "found %s, expected %s", d.found(v), expected)
			}
		},
		"network": func(at string, v *yaml.Node) { d.network(at, v, &cfg.Network) },
		"clock": func(at string, v *yaml.Node) {
			d.mapping(at, v, fields{"servers": func(at string, v *yaml.Node) {
				cfg.Clock.Servers = []string{}
				d.sequence(at, v, "NTP servers", func(at string, v *yaml.Node) {
					if s, ok := d.textWhere(at, v, "a host name or address, with or without a port", isHostPort); ok {
						cfg.Clock.Servers = append(cfg.Clock.Servers, s)
					}
				})
			}}, nil)
		},
		"cluster": func(at string, v *yaml.Node) { d.cluster(at, v, &cfg.Cluster) },
		"registries": func(at string, v *yaml.Node) {
			cfg.Registries = &Registries{}
			d.registries(at, v, cfg.Registries)
		},
		"secrets": func(_ string, v *yaml.Node) { secrets = v },
	}, func(at string, k, _ *yaml.Node) bool {
		base := strings.TrimSuffix(k.Value, "+")
		if !slices.Contains(clusterKeys, base) && !isOtherK3sKey(base) {
			return false
		}
		d.fail(k, at, "unknown key here; the keys of k3s go below cluster: indent it under a line \"cluster:\"")
		return true
	})
	d.checkLinks(cfg.Network.Interfaces)
	d.checkCIDRs(cfg)
	d.checkAddresses(cfg)
	if cfg.Cluster.NodeName == "" {
		cfg.Cluster.NodeName = cfg.Hostname
	}
	if cfg.Role == RoleAgent {
		p.agent()
		return p
	}
	p.readSecrets(secrets, resolve)
	p.serverToken()
	return p
}

// secretsKey returns the key that only a secrets file has at its top, nil if there is none.
func secretsKey(root *yaml.Node) *yaml.Node {
	for i := 0; root.Kind == yaml.MappingNode && i < len(root.Content); i += 2 {
		if k := root.Content[i]; k.Value == "server-ca" {
			return k
		}
	}
	return nil
}

// clusterKeys are the supported keys below cluster; a test compares them with the reader.
var clusterKeys = []string{
	"advertise-address", "advertise-port", "bind-address", "cluster-cidr", "cluster-dns", "cluster-domain",
	"default-local-storage-path", "disable", "disable-default-registry-endpoint", "disable-helm-controller",
	"flannel-backend", "flannel-iface", "https-listen-port", "kube-apiserver-arg", "kube-controller-manager-arg",
	"kube-proxy-arg", "kube-scheduler-arg", "kubelet-arg", "node-ip", "node-label", "node-name", "node-taint",
	"resolv-conf", "server", "service-cidr", "service-node-port-range", "tls-san", "token", "write-kubeconfig-mode",
}

// serverKeys are those that make no sense on an agent.
var serverKeys = []string{
	"advertise-address", "advertise-port", "bind-address", "cluster-cidr", "cluster-dns", "cluster-domain",
	"default-local-storage-path", "disable", "disable-helm-controller", "flannel-backend", "https-listen-port",
	"kube-apiserver-arg", "kube-controller-manager-arg", "kube-scheduler-arg", "service-cidr",
	"service-node-port-range", "tls-san", "write-kubeconfig-mode",
}

// agent checks what only an agent's configuration needs.
func (p *parsed) agent() {
	d := p.d
	if d.has("secrets") {
		d.fail(d.keys["secrets"], "secrets", "an agent has no secrets but its token, and must never get the cluster's: remove the key")
	}
	for _, key := range []string{"server", "token"} {
		if !d.has("cluster." + key) {
			d.failAt("cluster."+key, "missing; an agent needs %s", map[string]string{
				"server": "the URL of a server, such as https://10.0.0.10:6443", "token": "the cluster's agent token",
			}[key])
		}
	}
	for _, key := range serverKeys {
		for _, k := range []string{key, key + "+"} {
			if at := "cluster." + k; d.has(at) {
				d.fail(d.keys[at], at, "only a server has this key; an agent takes it from its server: remove it")
			}
		}
	}
}

// readSecrets reads the secrets in place or through resolve.
func (p *parsed) readSecrets(n *yaml.Node, resolve func(string) ([]byte, error)) {
	d := p.d
	switch {
	case n == nil:
		d.fail(nil, "secrets", "the key is missing; a server needs its cluster's secrets: write \"secrets: secrets.yaml\"")
		return
	case n.Kind == yaml.MappingNode:
		inline := newDecoder(p.name, true)
		inline.values["secrets"] = n
		p.cfg.Secrets = inline.secrets("secrets", n)
		d.errs = append(d.errs, inline.errs...)
		return
	}
	ref, ok := d.text("secrets", n, "the path of a secrets file, or the secrets as a mapping")
	if !ok {
		return
	}
	if resolve == nil {
		d.fail(n, "secrets", "found a reference to the file %s, expected the secrets themselves as a mapping", quote(ref))
		return
	}
	data, err := resolve(ref)
	if err != nil {
		// The reason only: the full path differs between the laptop and the node.
		reason := err
		var pe *fs.PathError
		if errors.As(err, &pe) {
			reason = pe.Err
		}
		d.fail(n, "secrets", "read %s: %v; the path is relative to this file", quote(ref), reason)
		return
	}
	p.reference, p.secretsData = n, data
	in := newDecoder(path.Base(filepath.ToSlash(ref)), true)
	root := in.document(data)
	if root != nil {
		in.values[""] = root
		p.cfg.Secrets = in.secrets("", root)
	} else if len(in.errs) == 0 {
		in.fail(nil, "", "the file is empty, expected the secrets that \"keelson config new\" made")
	}
	p.errs = append(p.errs, in.errs...)
}

// serverToken lets cluster.token override the token of the secrets, and leaves the
// password part in both places.
func (p *parsed) serverToken() {
	c, s := &p.cfg.Cluster, p.cfg.Secrets
	if s == nil {
		return
	}
	if c.Token == "" {
		c.Token = s.ServerToken
		return
	}
	if m := fullToken.FindStringSubmatch(c.Token); m != nil {
		sum := sha256.Sum256([]byte(s.ServerCA.Cert))
		switch {
		case m[1] != "server":
			p.d.failAt("cluster.token", "found the token of an agent, expected a server's (K10<hash>::server:<password>)")
		case s.ServerCA.Cert != "" && c.Token[3:3+64] != hex.EncodeToString(sum[:]):
			p.d.failAt("cluster.token", "was made for another cluster's CA than the one in the secrets; write the password alone or take the right token")
		}
		c.Token = m[2]
	}
	s.ServerToken = c.Token
}

// renameReference writes SecretsName in the place of the reference at node n.
func renameReference(data []byte, n *yaml.Node) ([]byte, error) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if n.Line <= len(lines) {
		line := string(lines[n.Line-1])
		for _, form := range []string{n.Value, `"` + n.Value + `"`, "'" + n.Value + "'"} {
			// The column counts characters, and quotes are part of the value's place.
			at := byteOffset(line, n.Column-1)
			if !strings.HasPrefix(line[at:], form) {
				continue
			}
			lines[n.Line-1] = []byte(line[:at] + SecretsName + line[at+len(form):])
			out := bytes.Join(lines, nil)
			var check struct {
				Secrets yaml.Node `yaml:"secrets"`
			}
			if yaml.Unmarshal(out, &check) == nil && check.Secrets.Value == SecretsName {
				return out, nil
			}
		}
	}
	return nil, fmt.Errorf("secrets: the reference to %s cannot be rewritten for the image; write it plainly in one line, or name the file %s", quote(n.Value), SecretsName)
}

// byteOffset returns where the n-th character of s begins.
func byteOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}
