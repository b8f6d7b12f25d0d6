package storage

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/keelson-os/keelson/cluster/addon/events"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// provisionerName is the StorageClass's provisioner.
const provisionerName = "rancher.io/local-path"

// Options are the settings of Run. All are required.
type Options struct {
	NodeName string
	// Path is the folder of volumes while there is no ConfigMap: the same that the packaged
	// ConfigMap names, default-local-storage-path. Volumes in it can always be removed.
	Path   string
	Client kubernetes.Interface // with all rights on volumes, claims and events
	// Factory gives informers of claims, volumes and classes. Run starts it.
	Factory informers.SharedInformerFactory
	Log     *slog.Logger
}

// Run serves this node's claims and volumes until ctx ends, then it returns nil.
// What fails is logged, told as an event and tried again.
func Run(ctx context.Context, o Options) error {
	base, err := cleanBase(o.Path)
	if err != nil {
		return fmt.Errorf("local storage: default-local-storage-path: %w", err)
	}
	recorder, stop := events.Recorder(ctx, o.Client.CoreV1().Events(""), provisionerName, o.NodeName)
	defer stop()

	config := newConfiguration(base, recorder, o.Log)
	c := newController(o, config, recorder)
	config.changed = c.again

	synced, err := c.watch(o.Factory)
	if err != nil {
		return err
	}
	private := configFactory(o.Client)
	loaded, err := config.watch(private)
	if err != nil {
		return err
	}
	// Shutdown waits for the informers' goroutines, which end with ctx.
	defer private.Shutdown()
	private.Start(ctx.Done())
	o.Factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), append(synced, loaded)...) {
		return nil
	}
	c.run(ctx)
	return nil
}
