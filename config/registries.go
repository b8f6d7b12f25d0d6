package config

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Registries says where images come from: the content of k3s's registries.yaml.
// Registries are named as in image names: host or host:port; "*" is every other one.
type Registries struct {
	Mirrors map[string]Mirror
	Configs map[string]RegistryConfig // by the host of an endpoint
}

// Mirror is asked instead of a registry.
type Mirror struct {
	Endpoints []string // URLs, or host[:port][/path]; the first that has the image is taken
	Rewrites  []Rewrite
}

// Rewrite changes the repository name in what a mirror is asked for. Of several the first
// that matches counts.
type Rewrite struct {
	Match   *regexp.Regexp
	Replace string // with $1, as in regexp.Regexp.ReplaceAllString
}

// RegistryConfig says how one host is spoken to.
type RegistryConfig struct {
	Auth *RegistryAuth // nil: anonymously
	TLS  *RegistryTLS
}

// RegistryAuth is a secret: either a name with a password, or a token.
type RegistryAuth struct {
	Username, Password string
	IdentityToken      string
}

// String keeps the secret out of logs and errors.
func (RegistryAuth) String() string { return "(not shown)" }

// GoString is String.
func (a RegistryAuth) GoString() string { return a.String() }

// RegistryTLS is how a registry is trusted. Files are absolute paths on the node; the
// other three fields are the same as PEM text, written in the configuration itself. Key is
// a secret.
type RegistryTLS struct {
	CAFile, CertFile, KeyFile string
	CA, Cert, Key             string
	InsecureSkipVerify        bool
}

// String keeps the key out of logs and errors.
func (t RegistryTLS) String() string {
	return fmt.Sprintf("{CAFile:%s CertFile:%s KeyFile:%s InsecureSkipVerify:%t}", t.CAFile, t.CertFile, t.KeyFile, t.InsecureSkipVerify)
}

// GoString is String.
func (t RegistryTLS) GoString() string { return t.String() }

// ParseRegistries reads a registries.yaml. name appears in the mistakes, which are an
// *Errors. An empty file is valid and says nothing.
func ParseRegistries(name string, data []byte) (*Registries, error) {
	d := newDecoder(name, false)
	out := &Registries{}
	if root := d.document(data); root != nil {
		d.registries("", root, out)
	}
	if err := asError(d.errs, name); err != nil {
		return nil, err
	}
	return out, nil
}

func (d *decoder) registries(p string, n *yaml.Node, r *Registries) {
	d.mapping(p, n, fields{
		"mirrors": func(p string, v *yaml.Node) {
			r.Mirrors = map[string]Mirror{}
			d.hosts(p, v, func(p, host string, v *yaml.Node) { r.Mirrors[host] = d.mirror(p, v) })
		},
		"configs": func(p string, v *yaml.Node) {
			r.Configs = map[string]RegistryConfig{}
			d.hosts(p, v, func(p, host string, v *yaml.Node) { r.Configs[host] = d.registryConfig(p, host, v) })
		},
	}, nil)
}

// hosts reads a mapping whose keys are registries.
func (d *decoder) hosts(p string, n *yaml.Node, each func(p, host string, v *yaml.Node)) {
	const expected = "a registry such as docker.io or registry.example.com:5000, or \"*\" for every other one"
	d.open(p, n, "registries", func(p string, k, v *yaml.Node) {
		if k.Value == "*" || isRegistry(k.Value) {
			each(p, k.Value, v)
			return
		}
		if strings.Contains(k.Value, "@") { // a URL with a password
			d.fail(k, p, "found a value that is not shown, expected %s; name and password go below registries.configs", expected)
			return
		}
		hint := ""
		if u, err := url.Parse(k.Value); err == nil && isRegistry(u.Host) {
			hint = fmt.Sprintf("; did you mean %q?", u.Host)
		} else if host, _, ok := strings.Cut(k.Value, "/"); ok && isRegistry(host) {
			hint = fmt.Sprintf("; did you mean %q?", host)
		}
		d.fail(k, p, "found %s, expected %s%s", quote(k.Value), expected, hint)
	})
}

// isRegistry reports whether s is host or host:port.
func isRegistry(s string) bool {
	return isHostPort(s) && !strings.HasSuffix(s, ":") && s == strings.ToLower(s)
}

func (d *decoder) mirror(p string, n *yaml.Node) Mirror {
	m := Mirror{}
	d.mapping(p, n, fields{
		"endpoint": func(p string, v *yaml.Node) {
			one := func(p string, v *yaml.Node) {
				if s, ok := d.text(p, v, "the URL of a registry"); ok && d.endpoint(p, v, s) {
					m.Endpoints = append(m.Endpoints, s)
				}
			}
			if v.Kind == yaml.ScalarNode && !isNull(v) {
				one(p, v)
				return
			}
			d.sequence(p, v, "URLs", one)
		},
		"rewrite": func(p string, v *yaml.Node) {
			d.open(p, v, "regular expressions with their replacement", func(p string, k, v *yaml.Node) {
				match, err := regexp.Compile(k.Value)
				if err != nil {
					d.fail(k, p, "found %s, expected a regular expression: %v", quote(k.Value), reason(err))
					return
				}
				replace, ok := d.text(p, v, "what takes the match's place, such as \"mirror/$1\"")
				if !ok || !d.replacement(p, v, match, replace) {
					return
				}
				m.Rewrites = append(m.Rewrites, Rewrite{match, replace})
			})
		},
	}, nil)
	if (n.Kind == yaml.MappingNode || isNull(n)) && !d.has(join(p, "endpoint")) {
		d.fail(n, p, "the key \"endpoint\" is missing, expected a list of URLs (without endpoints, k3s asks its embedded registry, which this version of Keelson does not have)")
	}
	return m
}

// reason is a regexp error without the expression, which may be long.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "error parsing regexp: ") }

// endpoint checks the address of a mirror.
func (d *decoder) endpoint(p string, v *yaml.Node, s string) bool {
	const expected = "a URL such as https://registry.example.com:5000"
	full := s
	if !strings.Contains(s, "://") {
		full = "https://" + s
	}
	u, err := url.Parse(full)
	switch {
	case strings.Contains(s, "@"):
		// The password must not be shown.
		d.fail(v, p, "found a URL with a password, expected %s; write name and password below registries.configs", expected)
	case err != nil || !isRegistry(strings.ToLower(u.Host)):
		d.fail(v, p, "found %s, expected %s", quote(s), expected)
	case u.Scheme != "http" && u.Scheme != "https":
		d.fail(v, p, "found %s, expected http or https as scheme: %s", quote(s), expected)
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
		d.fail(v, p, "found %s, expected %s without \"?\", \"#\" and characters that need quoting", quote(s), expected)
	default:
		return true
	}
	return false
}

var groupRE = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)

// replacement finds references to groups that the expression does not have: they would
// silently become nothing ("$1x" is the group "1x").
func (d *decoder) replacement(p string, v *yaml.Node, match *regexp.Regexp, replace string) bool {
	for _, m := range groupRE.FindAllStringSubmatch(strings.ReplaceAll(replace, "$$", ""), -1) {
		name := m[1] + m[2]
		if n, err := strconv.Atoi(name); (err == nil && n <= match.NumSubexp()) || (err != nil && match.SubexpIndex(name) >= 0) {
			continue
		}
		hint := ""
		if digits := strings.TrimRight(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"); m[2] != "" && digits != "" && digits != name {
			hint = fmt.Sprintf("; did you mean \"${%s}%s\"?", digits, name[len(digits):])
		}
		d.fail(v, p, "found %s, but the expression has no group %q (it has %d)%s", quote(replace), name, match.NumSubexp(), hint)
		return false
	}
	return true
}

func (d *decoder) registryConfig(p, host string, n *yaml.Node) RegistryConfig {
	c := RegistryConfig{}
	hide := newDecoder(d.file, true)
	defer func() { d.errs = append(d.errs, hide.errs...) }()
	d.mapping(p, n, fields{
		"auth": func(p string, v *yaml.Node) {
			if host == "*" && !isNull(v) {
				d.fail(v, p, "credentials for every registry would be shown to any that an image names; write them below each registry that needs them")
				return
			}
			c.Auth = hide.registryAuth(p, v)
		},
		"tls": func(p string, v *yaml.Node) { c.TLS = d.registryTLS(p, v, hide) },
	}, nil)
	return c
}

// registryAuth reads credentials. d hides values.
func (d *decoder) registryAuth(p string, n *yaml.Node) *RegistryAuth {
	if isNull(n) {
		return nil
	}
	d.values[p] = n
	a := &RegistryAuth{}
	var username, password, auth, token string
	read := func(into *string, what string) func(string, *yaml.Node) {
		return func(p string, v *yaml.Node) { *into, _ = d.text(p, v, what) }
	}
	d.mapping(p, n, fields{
		"username": read(&username, "a user name"), "password": read(&password, "a password"),
		"auth": read(&auth, "name:password in base64"), "identity_token": read(&token, "a token"),
	}, func(p string, k, _ *yaml.Node) bool {
		if k.Value != "token" {
			return false
		}
		d.fail(k, p, "unknown key; did you mean \"identity_token\"?")
		return true
	})
	if n.Kind != yaml.MappingNode || len(d.errs) > 0 {
		return nil
	}
	switch {
	case username != "" && password == "":
		d.fail(n, p, "the key \"password\" is missing beside \"username\"")
	case username == "" && password != "":
		d.fail(n, p, "the key \"username\" is missing beside \"password\"")
	case (username != "" && auth != "") || (username != "" && token != "") || (auth != "" && token != ""):
		d.fail(n, p, "found more than one way to log in, expected one of: username and password, auth, identity_token")
	case username == "" && auth == "" && token == "":
		d.fail(n, p, "found no credentials, expected username and password, auth or identity_token")
	case auth != "":
		text, err := base64.StdEncoding.DecodeString(auth)
		name, pass, ok := strings.Cut(string(text), ":")
		if err != nil || !ok || name == "" {
			d.fail(d.values[join(p, "auth")], join(p, "auth"), "found a value that is not shown, expected name:password in base64, as docker login writes it")
			return nil
		}
		username, password = name, pass
	}
	a.Username, a.Password, a.IdentityToken = username, password, token
	return a
}

// registryTLS reads how a registry is trusted; secret hides the key's value.
func (d *decoder) registryTLS(p string, n *yaml.Node, secret *decoder) *RegistryTLS {
	if isNull(n) {
		return nil
	}
	t := &RegistryTLS{}
	known := fields{
		"insecure_skip_verify": func(p string, v *yaml.Node) { d.boolean(p, v, &t.InsecureSkipVerify) },
		"ca": func(p string, v *yaml.Node) {
			t.CA = d.pemText(p, v, "certificates", func(text string) error { return parseCerts(text) })
		},
		"cert": func(p string, v *yaml.Node) {
			t.Cert = d.pemText(p, v, "a certificate", func(text string) error { return parseCerts(text) })
		},
		"key": func(p string, v *yaml.Node) {
			t.Key = secret.pemText(p, v, "a private key", func(text string) error {
				_, err := parseKey(text)
				return err
			})
		},
	}
	for key, into := range map[string]*string{"ca_file": &t.CAFile, "cert_file": &t.CertFile, "key_file": &t.KeyFile} {
		known[key] = func(p string, v *yaml.Node) {
			if isNull(v) { // as in k3s's own examples
				return
			}
			if s, ok := d.text(p, v, "the path of a file"); ok {
				*into = d.nodePath(p, v, s)
			}
		}
	}
	d.mapping(p, n, known, nil)
	for _, pair := range [][3]string{{"ca", t.CA, t.CAFile}, {"cert", t.Cert, t.CertFile}, {"key", t.Key, t.KeyFile}} {
		if pair[1] != "" && pair[2] != "" {
			d.failAt(join(p, pair[0]), "is set beside %s_file; write one of the two", pair[0])
		}
	}
	if cert, key := t.Cert != "" || t.CertFile != "", t.Key != "" || t.KeyFile != ""; cert != key && n.Kind == yaml.MappingNode && len(secret.errs) == 0 {
		missing := map[bool]string{true: "key", false: "cert"}[cert]
		d.fail(n, p, "a client's certificate and key belong together: %s (or %s_file) is missing", missing, missing)
	}
	return t
}

func (d *decoder) pemText(p string, v *yaml.Node, what string, check func(string) error) string {
	text, ok := d.text(p, v, what+" as PEM text")
	if !ok {
		return ""
	}
	if err := check(text); err != nil {
		d.fail(v, p, "%v", err)
		return ""
	}
	return text
}

// RegistriesDir is what relative paths in registries.yaml are relative to, and where k3s
// keeps that file.
const RegistriesDir = "/etc/rancher/k3s"

// nodePath checks the path of a file on the node: one that a node can have. The system
// is read-only, so that files of the user lie on the state partition.
func (d *decoder) nodePath(p string, v *yaml.Node, s string) string {
	full := s
	if !path.IsAbs(full) {
		full = path.Join(RegistriesDir, full)
	}
	if !plainPath(full) || (!below(full, StateDir) && !below(full, "/etc/rancher")) {
		d.fail(v, p, "found %s, expected a file below %s or %s (the only folders of a node that can be written); or write the PEM text itself under the key without \"_file\"", quote(s), StateDir, RegistriesDir)
		return ""
	}
	return full
}

// plainPath reports whether s is absolute, without "..", and of printable ASCII.
func plainPath(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// below reports whether the clean path s is inside dir.
func below(s, dir string) bool { return strings.HasPrefix(s, dir+"/") }
