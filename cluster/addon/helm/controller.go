package helm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

const (
	// A chart that failed is tried again after retryMin, doubling up to retryMax.
	retryMin = 5 * time.Second
	retryMax = 5 * time.Minute
	// Charts are worked on one at a time, as each takes tens of megabytes while it is
	// fetched and rendered. An action that takes longer than patience waits for a hook or
	// for a server, and lets the next one begin; there are at most workers of them.
	patience = 10 * time.Second
	workers  = 4
)

// releases is Helm.
type releases interface {
	State(ctx context.Context, namespace, name, driver string) (release.State, error)
	Apply(ctx context.Context, t release.Target, content release.Content) (release.Info, error)
	Uninstall(ctx context.Context, t release.Target) error
}

// clients is what the controller speaks to.
type clients struct {
	charts   dynamic.Interface
	objects  kubernetes.Interface
	metadata metadata.Interface
	releases releases
	source   *source.Fetcher
	events   record.EventRecorder
}

// errChanged ends an action whose HelmChart says something else by now.
var errChanged = errors.New("the HelmChart, its HelmChartConfig or a Secret of its values changed")

// controller watches names and generations only, and reads a HelmChart when it acts on it:
// a HelmChart may hold a chart of a megabyte.
type controller struct {
	clients
	log   *slog.Logger
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]
	// watchSecrets begins to watch Secrets. Most nodes never need it.
	watchSecrets func()

	turn chan struct{} // full while somebody has the turn

	mu      sync.Mutex
	running map[types.NamespacedName]*action                       // under way
	secrets map[types.NamespacedName]map[types.NamespacedName]bool // Secret → HelmCharts with values of it
}

// action is what is being done.
type action struct {
	deleting bool
	seen     map[string]bool // identities of what it is made from
	cancel   context.CancelCauseFunc
}

func newController(c clients, log *slog.Logger) *controller {
	return &controller{
		clients: c, log: log,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](retryMin, retryMax)),
		watchSecrets: func() {},
		turn:         make(chan struct{}, 1),
		running:      map[types.NamespacedName]*action{},
		secrets:      map[types.NamespacedName]map[types.NamespacedName]bool{},
	}
}

// run works until ctx ends.
func (c *controller) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var goes sync.WaitGroup
	defer goes.Wait()
	defer c.queue.ShutDown()
	defer cancel()

	var synced []cache.InformerSynced
	for _, resource := range []schema.GroupVersionResource{chartsResource(), configsResource()} {
		seen, err := c.watch(ctx, &goes, resource, nil)
		if err != nil {
			return err
		}
		synced = append(synced, seen)
	}
	c.watchSecrets = sync.OnceFunc(func() {
		// Helm's own Secrets are large and change with every action here.
		others := fields.OneTermNotEqualSelector("type", "helm.sh/release.v1").String()
		if _, err := c.watch(ctx, &goes, schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, func(o *metav1.ListOptions) { o.FieldSelector = others }); err != nil {
			c.log.Warn("helm: Secrets are not watched", "err", err)
		}
	})
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return context.Cause(ctx)
	}
	if ready != nil {
		ready()
	}
	for range workers {
		goes.Go(func() {
			for c.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// watch looks at one resource in all namespaces. Of an object its name, generation and
// version are kept.
func (c *controller) watch(ctx context.Context, goes *sync.WaitGroup, resource schema.GroupVersionResource, tweak func(*metav1.ListOptions)) (cache.InformerSynced, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(c.metadata, resource, metav1.NamespaceAll, 0, cache.Indexers{}, tweak).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, err
	}
	changed := func(obj any, deleted bool) {
		if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = tombstone.Obj
		}
		if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
			c.changed(resource.Resource, m, deleted)
		}
	}
	registered, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if initial && resource.Resource != chartsResource().Resource {
				return // comes with the HelmChart, which reads it
			}
			changed(obj, false)
		},
		UpdateFunc: func(before, after any) {
			b, okB := before.(*metav1.PartialObjectMetadata)
			a, okA := after.(*metav1.PartialObjectMetadata)
			if okA && okB && same(b, a) {
				return
			}
			changed(after, false)
		},
		DeleteFunc: func(obj any) { changed(obj, true) },
	})
	if err != nil {
		return nil, err
	}
	goes.Go(func() { informer.Run(ctx.Done()) })
	return registered.HasSynced, nil
}

// strip keeps of an object what same and changed look at.
func strip(obj any) (any, error) {
	if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
		kept := metav1.ObjectMeta{
			Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
			Generation: m.Generation, DeletionTimestamp: m.DeletionTimestamp,
		}
		for _, a := range []string{annotationManagedBy, annotationUnmanaged} {
			if v, ok := m.Annotations[a]; ok {
				metav1.SetMetaDataAnnotation(&kept, a, v)
			}
		}
		m.ObjectMeta = kept
	}
	return obj, nil
}

// same says whether nothing changed that matters. Secrets have no generation; of
// HelmCharts a change of the status does not matter.
func same(a, b *metav1.PartialObjectMetadata) bool {
	if a.Generation == 0 && b.Generation == 0 {
		return a.ResourceVersion == b.ResourceVersion
	}
	return a.UID == b.UID && a.Generation == b.Generation && a.DeletionTimestamp.Equal(b.DeletionTimestamp) &&
		a.Annotations[annotationManagedBy] == b.Annotations[annotationManagedBy] &&
		a.Annotations[annotationUnmanaged] == b.Annotations[annotationUnmanaged]
}

// identity names a version of an object: its generation, or where it has none its version.
func identity(resource string, m metav1.Object) string {
	version := m.GetResourceVersion()
	if g := m.GetGeneration(); g != 0 {
		version = strconv.FormatInt(g, 10)
	}
	return fmt.Sprintf("%s %s %s %s", resource, m.GetName(), m.GetUID(), version)
}

// changed queues the HelmCharts that an object is about, at once and as if they had never
// failed. It ends an action on one of them, unless that has the change already: events come
// later than what is read.
func (c *controller) changed(resource string, m *metav1.PartialObjectMetadata, deleted bool) {
	key := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	charts := map[types.NamespacedName]bool{key: true}
	if resource == "secrets" {
		charts = c.secrets[key]
	}
	for chart := range charts {
		if r := c.running[chart]; r != nil && !r.deleting && (deleted || !r.seen[identity(resource, m)]) {
			r.cancel(errChanged)
		}
		c.queue.Forget(chart)
		c.queue.Add(chart)
	}
}

// next works on one HelmChart. It is false when the queue ended.
func (c *controller) next(ctx context.Context) bool {
	key, end := c.queue.Get()
	if end {
		return false
	}
	defer c.queue.Done(key)
	give, ok := c.take(ctx)
	if !ok {
		return false
	}
	defer give()
	again, err := c.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.queue.AddRateLimited(key)
		c.log.Warn("helm chart not applied", "chart", key.String(), "tries", c.queue.NumRequeues(key), "err", err)
	case again:
		c.queue.Add(key)
	default:
		c.queue.Forget(key)
	}
	return true
}

// take waits for the turn. The function gives it up, which happens after patience by itself.
func (c *controller) take(ctx context.Context) (give func(), ok bool) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	once := sync.OnceFunc(func() { <-c.turn })
	timer := time.AfterFunc(patience, once)
	return func() {
		timer.Stop()
		once()
	}, true
}

// begin notes an action that is made from what seen says. Its context ends when that
// changes; call the function after it.
func (c *controller) begin(ctx context.Context, chart types.NamespacedName, deleting bool, seen map[string]bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[chart] = &action{deleting, seen, cancel}
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, chart)
		cancel(nil)
	}
}

// follow notes of which Secrets a HelmChart's values are.
func (c *controller) follow(chart types.NamespacedName, names []string) {
	c.mu.Lock()
	for secret, charts := range c.secrets {
		if delete(charts, chart); len(charts) == 0 {
			delete(c.secrets, secret)
		}
	}
	for _, name := range names {
		secret := types.NamespacedName{Namespace: chart.Namespace, Name: name}
		if c.secrets[secret] == nil {
			c.secrets[secret] = map[types.NamespacedName]bool{}
		}
		c.secrets[secret][chart] = true
	}
	c.mu.Unlock()
	if len(names) > 0 {
		c.watchSecrets()
	}
}
