package upgrade

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// component is the source of events and the manager of fields.
const component = "upgrade-controller"

// definedMin and definedMax bound the pause before the API is asked again whether it knows
// the kind Upgrade: its definition is a packaged manifest, which a .skip keeps away.
const (
	definedMin = time.Second
	definedMax = 5 * time.Minute
)

// Options say what the controller works with. All are required.
type Options struct {
	// Config needs all rights: pods of all namespaces are evicted.
	Config   *rest.Config
	NodeName string // this node's, whose machine API is asked by its socket
	// MachineCA issues the certificate for the machine APIs of other nodes.
	MachineCA config.KeyPair
	Log       *slog.Logger
}

// Run acts on Upgrades until ctx ends, then it returns nil; what is under way is resumed by
// the next Run. It returns an error only if it cannot begin.
func Run(ctx context.Context, o Options) error {
	cfg := rest.CopyConfig(o.Config)
	cfg.UserAgent = "keelson-" + component
	cfg.QPS, cfg.Burst = 50, 100 // a drain looks at each pod every second
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	core, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	recorder, stop := recorder(ctx, core)
	defer stop()
	d := &dialer{self: o.NodeName, socket: machine.Socket, ca: o.MachineCA}
	c := newController(dyn, core, d.dial, recorder, o.Log)
	if !c.defined(ctx) {
		return nil
	}
	return c.run(ctx, meta)
}

// recorder lets an Upgrade of many nodes tell all of its steps: by default an object has 25
// events, and then one every five minutes.
func recorder(ctx context.Context, client kubernetes.Interface) (record.EventRecorder, func()) {
	b := record.NewBroadcaster(record.WithContext(ctx), record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: 500, QPS: 0.1}))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component}), b.Shutdown
}

// defined waits until the API serves Upgrades. It is false if ctx ended.
func (c *controller) defined(ctx context.Context) bool {
	for wait := definedMin; ; wait = min(2*wait, definedMax) {
		_, err := c.upgrades.Resource(resource()).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return true
		}
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			c.log.Warn("upgrade: Upgrades cannot be listed, trying again", "retry", wait, "err", err)
		}
		if !await.Pause(ctx, wait) {
			return false
		}
	}
}

// run watches names and generations, and acts on what changes.
func (c *controller) run(ctx context.Context, meta metadata.Interface) error {
	informer := metadatainformer.NewFilteredMetadataInformer(meta, resource(), metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return err
	}
	// The definition may be taken away, with all Upgrades: nothing worth a line every minute.
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		if !apierrors.IsNotFound(err) {
			cache.DefaultWatchErrorHandler(ctx, r, err)
		}
	}); err != nil {
		return err
	}
	add := func(obj any) {
		if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
			c.queue.Forget(m.Name)
			c.queue.Add(m.Name)
		}
	}
	registered, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: add,
		UpdateFunc: func(before, after any) {
			b, okB := before.(*metav1.PartialObjectMetadata)
			a, okA := after.(*metav1.PartialObjectMetadata)
			if okA && okB && a.UID == b.UID && a.Generation == b.Generation {
				return // of the status, which is ours
			}
			add(after)
		},
		DeleteFunc: add,
	})
	if err != nil {
		return err
	}
	c.goes.Go(func() { informer.Run(ctx.Done()) })
	if !cache.WaitForCacheSync(ctx.Done(), registered.HasSynced) {
		return nil
	}
	if err := c.sweep(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("upgrade: nodes of deleted Upgrades not uncordoned", "err", err)
	}
	c.work(ctx)
	return nil
}

// sweep uncordons nodes that an Upgrade has cordoned which was deleted while nobody looked.
func (c *controller) sweep(ctx context.Context) error {
	list, err := c.upgrades.Resource(resource()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range list.Items {
		there[list.Items[i].GetName()] = true
	}
	return release(ctx, c.client, func(by, _ string) bool { return !there[by] })
}

// strip keeps of an Upgrade what is looked at.
func strip(obj any) (any, error) {
	if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
		m.ObjectMeta = metav1.ObjectMeta{Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation}
	}
	return obj, nil
}
