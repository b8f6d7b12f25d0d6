package manifest

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-os/keelson/cluster/addon/events"
	"github.com/keelson-os/keelson/cluster/await"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// requestTimeout bounds a request, webhooks included (they may take 30 s), so that one that
// hangs does not keep the other files from being applied.
const requestTimeout = 40 * time.Second

// Options say what to apply, and how.
type Options struct {
	Config   *rest.Config // with all rights
	Dir      string       // the auto-deploy folder; it need not exist
	NodeName string       // in events
	// Disabled names files and folders that are removed, and their objects with them; see
	// the function Disabled.
	Disabled []string
	// HelmRuns is whether the helm controller runs. Without it, a HelmChart that is deleted
	// would never be gone: disabled files that have one are left as they are.
	HelmRuns bool
	Log      *slog.Logger
}

// Run makes the definition of Addons and applies what is in the folder now and whatever
// changes, until ctx ends; then it returns nil. What fails in the cluster is logged, told by
// an event, and tried again. Errors: only those of making clients of Config.
func Run(ctx context.Context, o Options) error {
	config := rest.CopyConfig(o.Config)
	config.Timeout = requestTimeout
	config.QPS = -1 // one request at a time is limit enough
	a := newApplier(o)
	clients, err := connect(config)
	if err != nil {
		return fmt.Errorf("manifests: %w", err)
	}
	a.objects, a.store = clients.cluster, clients.store

	// "deploy" is k3s's name for its controller of manifests.
	recorder, stop := events.Recorder(ctx, clients.events, "deploy", o.NodeName)
	defer stop()
	a.recorder = recorder

	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		err := clients.store.install(ctx)
		if err == nil {
			err = a.remember(ctx)
		}
		if err == nil {
			break
		}
		if ctx.Err() == nil && wait > retryMin { // it takes a moment to be established
			o.Log.Warn("manifests: not started, trying again", "retry", wait, "err", err)
		}
		if !await.Pause(ctx, wait) {
			return nil
		}
	}
	for {
		if !await.Pause(ctx, a.pass(ctx, time.Now())) {
			return nil
		}
	}
}

type clients struct {
	cluster *cluster
	store   *store
	events  typedcorev1.EventInterface
}

// connect makes all clients share their connections.
func connect(config *rest.Config) (*clients, error) {
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfigAndClient(config, http)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfigAndClient(config, http)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(config, http)
	if err != nil {
		return nil, err
	}
	core, err := typedcorev1.NewForConfigAndClient(config, http)
	if err != nil {
		return nil, err
	}
	return &clients{
		cluster: newCluster(dyn, meta, disco),
		store:   &store{dyn},
		events:  core.Events(metav1.NamespaceSystem),
	}, nil
}
