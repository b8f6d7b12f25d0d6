package helm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/keelson-os/keelson/cluster/addon/events"
	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// defineRetry is the pause before the API is asked again for the definitions.
const defineRetry = 2 * time.Second

// Options say what the controller works with.
type Options struct {
	// Config needs all rights: a chart may hold anything.
	Config *rest.Config
	// StaticDir is the folder that k3s serves below /static/; archives of charts that
	// https://%{KUBERNETES_API}%/static/charts/NAME.tgz names are in its folder charts.
	StaticDir string
	// Packaged has a folder NAME per chart that comes with the node, for such a URL whose
	// archive is not in StaticDir. Nil: none.
	Packaged fs.FS
	Log      *slog.Logger
	// Ready is called once, when the API serves HelmChart and HelmChartConfig and changes
	// of them are seen. Nil: nothing is called.
	Ready func()
}

// Run acts on HelmCharts until ctx ends; an action under way is then ended too, and
// resumed by the next Run. It returns an error only if it cannot begin.
func Run(ctx context.Context, o Options) error {
	if err := release.SetFieldManager(); err != nil {
		return err
	}
	cfg := rest.CopyConfig(o.Config)
	cfg.UserAgent = "keelson-helm-controller"
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("helm: %w", err)
	}
	core, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("helm: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("helm: %w", err)
	}
	for {
		err := define(ctx, dyn)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		o.Log.Warn("helm: definitions not written, trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(defineRetry):
		}
	}

	recorder, stop := events.Recorder(ctx, core.CoreV1().Events(""), "helm-controller", "")
	defer stop()
	c := newController(clients{
		charts: dyn, objects: core, metadata: meta,
		releases: release.New(o.Config, o.Log.With("component", "helm")),
		source:   &source.Fetcher{Static: o.StaticDir, Packaged: o.Packaged},
		events:   recorder,
	}, o.Log)
	if err := c.run(ctx, o.Ready); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
