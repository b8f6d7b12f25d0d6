// Package registries tells containerd where images come from: it turns the content of
// k3s's registries.yaml into containerd's certs.d (one hosts.toml for each registry) and
// its credentials.
//
// What hosts.toml cannot say, rewriting a repository's name by a regular expression, is
// done by a small proxy in this process (see rewriter), which runs only if it is needed.
// k3s patches containerd for it.
//
// Source: containerd docs/hosts.md; docs.k3s.io/installation/private-registry.
package registries

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/keelson-os/keelson/config"
)

// Options say what to read and where to write.
type Options struct {
	Dir     string             // containerd's certs.d
	Section *config.Registries // of the machine configuration; nil: File is read
	File    string             // k3s's registries.yaml, which need not exist

	// NoDefaultEndpoint makes a mirrored registry never be asked itself.
	NoDefaultEndpoint bool

	Log *slog.Logger
}

// Registries is the node's registry configuration. Make it with New; Setup must have
// returned before the other methods are used.
type Registries struct {
	options Options
	auths   map[string]config.RegistryAuth
	rewrite *rewriter
}

// New returns a configuration that is not read yet.
func New(o Options) *Registries { return &Registries{options: o} }

// Load reads a registries.yaml. A file that does not exist is (nil, nil); mistakes in it
// are a *config.Errors.
func Load(path string) (*config.Registries, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return config.ParseRegistries(filepath.Base(path), data)
}

// Setup reads the configuration and writes certs.d. A registries.yaml with mistakes is
// logged and otherwise ignored, as if it had not been changed since the last start: a
// node that does not start could not be repaired through its API.
func (r *Registries) Setup(context.Context) error {
	o := r.options
	c := o.Section
	switch {
	case c == nil:
		var err error
		if c, err = Load(o.File); err != nil {
			o.Log.Error("registries not changed: correct the file and start the node again", "file", o.File, "err", err)
			return nil
		}
	case exists(o.File):
		o.Log.Warn("file not read: the machine configuration has a section registries; remove one of the two", "file", o.File)
	}
	if c == nil {
		c = &config.Registries{}
	}
	for _, missing := range missingFiles(c) {
		o.Log.Warn("registries: file not found; pulls that need it will fail", "file", missing)
	}
	hosts := build(c, o.NoDefaultEndpoint)
	if slices.ContainsFunc(hosts, host.rewrites) {
		var err error
		if r.rewrite, err = newRewriter(o.Log); err != nil {
			return fmt.Errorf("registries: %w", err)
		}
		for i := range hosts {
			r.rewrite.takeOver(&hosts[i])
		}
	}
	r.auths = auths(c)
	if err := write(o.Dir, hosts); err != nil {
		return fmt.Errorf("registries: %w", err)
	}
	return nil
}

// Run serves the rewriting proxy, if there is one, until ctx ends.
func (r *Registries) Run(ctx context.Context) error {
	if r.rewrite == nil {
		<-ctx.Done()
		return nil
	}
	return r.rewrite.run(ctx)
}

// Auths are the credentials by the host[:port] that is spoken to. They are secrets and
// are held in memory only.
func (r *Registries) Auths() map[string]config.RegistryAuth { return r.auths }

func auths(c *config.Registries) map[string]config.RegistryAuth {
	out := map[string]config.RegistryAuth{}
	for name, x := range c.Configs {
		if x.Auth == nil {
			continue
		}
		out[name] = *x.Auth
		// docker.io's images are at another host.
		if h, err := docker.DefaultHost(name); err == nil && c.Configs[h].Auth == nil {
			out[h] = *x.Auth
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missingFiles returns the files that c names and the node does not have, sorted.
func missingFiles(c *config.Registries) []string {
	missing := map[string]bool{}
	for _, x := range c.Configs {
		if x.TLS == nil {
			continue
		}
		for _, f := range []string{x.TLS.CAFile, x.TLS.CertFile, x.TLS.KeyFile} {
			if f != "" && !exists(f) {
				missing[f] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(missing))
}
