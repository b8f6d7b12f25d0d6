package registries

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/keelson-os/keelson/config"
)

// everyOther is the name of all registries that have no entry of their own, and
// defaultDir containerd's folder for them.
const (
	everyOther = "*"
	defaultDir = "_default"
)

// host is one registry as image names call it, and one folder of certs.d.
type host struct {
	name      string
	endpoints []endpoint // tried in this order
	// server is tried last. Without a URL it is the registry itself.
	server endpoint
}

// endpoint is one server that is asked for images.
type endpoint struct {
	url      string
	override bool // the URL's path is the whole path of the API
	header   http.Header
	tls      *config.RegistryTLS
	auth     *config.RegistryAuth
	rewrites []config.Rewrite
}

func (h host) rewrites() bool {
	return len(h.server.rewrites) > 0 || slices.ContainsFunc(h.endpoints, func(e endpoint) bool { return len(e.rewrites) > 0 })
}

// dir is the name of the host's folder. containerd replaces the colon of a port.
func (h host) dir() string {
	if h.name == everyOther {
		return defaultDir
	}
	if i := strings.LastIndexByte(h.name, ':'); i > 0 && !strings.HasSuffix(h.name, "]") {
		return h.name[:i] + "_" + h.name[i+1:] + "_"
	}
	return h.name
}

// build joins mirrors and configs as k3s does, sorted by name. With noDefault a registry
// that has mirrors is never asked itself: its last mirror takes its place.
func build(c *config.Registries, noDefault bool) []host {
	names := map[string]bool{}
	for name := range c.Mirrors {
		names[name] = true
	}
	for name := range c.Configs {
		names[name] = true
	}
	var hosts []host
	for _, name := range slices.Sorted(maps.Keys(names)) {
		mirror, own := c.Mirrors[name]
		if !own {
			// Its own folder hides _default, whose mirrors are meant for it too.
			mirror = c.Mirrors[everyOther]
		}
		h := host{name: name}
		if name != everyOther {
			h.server = resolve(c, name, nil)
		} else {
			h.server.tls = c.Configs[everyOther].TLS
		}
		seen := map[string]bool{}
		for _, text := range mirror.Endpoints {
			if e := resolve(c, text, mirror.Rewrites); !seen[e.url] {
				seen[e.url] = true
				h.endpoints = append(h.endpoints, e)
			}
		}
		if n := len(h.endpoints); n > 0 && (noDefault || h.endpoints[n-1].url == h.server.url) {
			h.server, h.endpoints = h.endpoints[n-1], h.endpoints[:n-1]
		}
		_, hidesDefault := c.Configs[everyOther]
		if len(h.endpoints) == 0 && h.server.tls == nil && len(h.server.rewrites) == 0 && !own && !hidesDefault {
			continue // credentials only: they are not in certs.d
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// resolve completes an endpoint: a URL, or host[:port][/path], that was checked when the
// configuration was read. Scheme and host follow containerd's own rules.
func resolve(c *config.Registries, text string, rewrites []config.Rewrite) endpoint {
	bare := !strings.Contains(text, "://")
	if bare {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil { // checked by package config
		u = &url.URL{Scheme: "https", Host: text}
	}
	if port := u.Port(); bare && docker.IsLocalhost(u.Host) && port != "" && port != "443" {
		u.Scheme = "http"
	}
	name := u.Host
	if h, err := docker.DefaultHost(name); err == nil {
		u.Host = h
	}
	e := endpoint{rewrites: rewrites}
	switch u.Path {
	case "", "/", "/v2", "/v2/":
		u.Path = "/v2"
	default:
		e.override = true
		u.Path = strings.TrimSuffix(u.Path, "/")
	}
	e.url = u.String()
	e.tls, e.auth = configFor(c, name, u.Host)
	return e
}

// configFor returns what was said about a host, by the name that is spoken to or by the one
// in image names; else what holds for every other.
func configFor(c *config.Registries, name, real string) (*config.RegistryTLS, *config.RegistryAuth) {
	names := []string{real, name}
	if real == "registry-1.docker.io" {
		names = append(names, "docker.io")
	}
	for _, n := range names {
		if x, ok := c.Configs[n]; ok {
			return x.TLS, x.Auth
		}
	}
	return c.Configs[everyOther].TLS, nil
}
