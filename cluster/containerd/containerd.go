// Package containerd runs containerd in this process, with the plugins that a node needs.
//
// The shims are processes of their own, and so are the pods below them: both stay when
// this process ends, and the next one finds them through the state folder.
package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"
	"github.com/keelson-os/keelson/config"
)

// SandboxImage is the image of a pod's first process. It comes with the system.
const SandboxImage = "keelson.dev/pause:1"

// Options say where containerd keeps its things.
type Options struct {
	Root           string // images and snapshots, on the state partition
	State          string // until the next boot
	Socket         string
	RegistryConfig string // certs.d
	// RegistryAuths returns the credentials by host. It is called when Run is.
	RegistryAuths func() map[string]config.RegistryAuth
	CNIBin        string
	CNIConf       string
}

// Containerd is one containerd. Make it with New, call Run once.
type Containerd struct {
	options Options
	ready   chan struct{}
}

// New returns a containerd that does nothing yet.
func New(o Options) *Containerd { return &Containerd{options: o, ready: make(chan struct{})} }

// Ready blocks until the CRI answers or ctx ends.
func (c *Containerd) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Containerd) config() *srvconfig.Config {
	o := c.options
	// In memory only. Pods' own pull secrets come first.
	auths := map[string]any{}
	for host, a := range o.RegistryAuths() {
		auths[host] = map[string]any{"auth": map[string]any{
			"username": a.Username, "password": a.Password, "identitytoken": a.IdentityToken,
		}}
	}
	return &srvconfig.Config{
		Version: version.ConfigVersion,
		Root:    o.Root,
		State:   o.State,
		// A plugin that fails is only logged, unless it is named here.
		RequiredPlugins: []string{
			"io.containerd.grpc.v1.cri",
			"io.containerd.snapshotter.v1.overlayfs",
			"io.containerd.runtime.v2.task",
		},
		Plugins: map[string]any{
			"io.containerd.server.v1.grpc":  map[string]any{"address": o.Socket},
			"io.containerd.server.v1.ttrpc": map[string]any{"address": o.Socket + ".ttrpc"},
			"io.containerd.cri.v1.images": map[string]any{
				"snapshotter":   "overlayfs",
				"pinned_images": map[string]any{"sandbox": SandboxImage},
				"registry":      map[string]any{"config_path": o.RegistryConfig, "configs": auths},
				// How often the snapshots' sizes are read, seconds. They only feed eviction;
				// 60 instead of 10 saves walking every snapshot's metadata.
				"stats_collect_period": 60,
			},
			"io.containerd.cri.v1.runtime": map[string]any{
				// How often every shim is asked for its containers' CPU time. 30 s instead of 1 s
				// saves waking all shims each second; the kubelet asks every 10 s at most.
				"stats_collect_period":   "30s",
				"stats_retention_period": "5m",
				"cni": map[string]any{
					"bin_dirs":              []string{o.CNIBin},
					"conf_dir":              o.CNIConf,
					"use_internal_loopback": true, // no plugin process for it
				},
				"containerd": map[string]any{
					"default_runtime_name": "runc",
					"runtimes": map[string]any{
						"runc": map[string]any{
							"runtime_type": "io.containerd.runc.v2",
							"sandboxer":    "podsandbox",
							"options":      map[string]any{"BinaryName": "runc", "SystemdCgroup": false},
						},
					},
				},
			},
		},
	}
}

// Run serves until ctx ends. Pods go on.
func (c *Containerd) Run(ctx context.Context) error {
	cfg := c.config()
	if err := server.CreateTopLevelDirectories(cfg); err != nil {
		return err
	}
	for _, dir := range []string{c.options.CNIConf, c.options.RegistryConfig} {
		if err := os.MkdirAll(dir, 0o755); err != nil { // both are watched or read from the start
			return err
		}
	}
	if err := mount.SetTempMountLocation(filepath.Join(cfg.Root, "tmpmounts")); err != nil {
		return fmt.Errorf("temporary mounts: %w", err)
	}
	warnings, err := mount.CleanupTempMounts(0)
	if err != nil {
		return fmt.Errorf("temporary mounts: %w", err)
	}
	for _, w := range warnings {
		log.G(ctx).WithError(w).Warn("temporary mounts of an earlier run")
	}
	// Its own context: canceling this one would cut off what Stop still has to do.
	srv, err := server.New(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return err
	}
	defer srv.Stop()
	if err := srv.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	waited := make(chan struct{})
	go func() {
		srv.Wait()
		close(waited)
	}()
	select {
	case <-waited:
		close(c.ready)
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}
