package manifest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const (
	// fieldManager owns the fields that manifests set.
	fieldManager = "keelson-manifest"
	// pollInterval is k3s's. Looking at a folder's times costs no write and no wake-up worth
	// counting, and unlike inotify it sees what was changed on another mount of it.
	pollInterval = 15 * time.Second
	// retryMax bounds the wait between tries of a file that cannot be applied, for example
	// because its custom resource is defined by a chart that is still being installed.
	retryMax = 2 * time.Minute
)

// applied is what is known of one file.
type applied struct {
	stamp stamp
	sum   [32]byte
	done  bool
	wait  time.Duration
	next  time.Time
}

// Applier applies the manifests of one folder. It is for one goroutine.
type Applier struct {
	dir    string
	log    *slog.Logger
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	files  map[string]*applied
}

// New returns an applier of dir that speaks to the API server as cfg says.
func New(cfg *rest.Config, dir string, log *slog.Logger) (*Applier, error) {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return &Applier{
		dir: dir, log: log, client: client,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco)),
		files:  map[string]*applied{},
	}, nil
}

// Run applies what is in the folder now and whatever changes, until ctx ends. A file that
// cannot be applied is logged and tried again; it holds nothing else up.
func (a *Applier) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		a.pass(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pass looks at the folder once.
func (a *Applier) pass(ctx context.Context, now time.Time) {
	found, err := scan(a.dir)
	if err != nil {
		a.log.Warn("manifests: cannot read the folder", "dir", a.dir, "err", err)
		return
	}
	for path := range a.files {
		if _, ok := found[path]; !ok {
			delete(a.files, path)
		}
	}
	for path, s := range found {
		f := a.files[path]
		if f == nil {
			f = &applied{}
			a.files[path] = f
		}
		if f.stamp != s {
			*f = applied{stamp: s, sum: f.sum}
		}
		if f.done || now.Before(f.next) || ctx.Err() != nil {
			continue
		}
		a.file(ctx, path, f, now)
	}
}

// file applies one file and notes how that went.
func (a *Applier) file(ctx context.Context, path string, f *applied, now time.Time) {
	name := display(a.dir, path)
	objects, sum, err := read(path)
	if err == nil && sum == f.sum {
		f.done = true // touched, not changed
		return
	}
	if err == nil {
		err = a.apply(ctx, objects)
	}
	if err == nil {
		f.done, f.sum = true, sum
		a.log.Info("manifest applied", "file", name, "objects", len(objects))
		return
	}
	f.wait = min(max(2*f.wait, pollInterval), retryMax)
	f.next = now.Add(f.wait)
	a.log.Warn("manifest not applied", "file", name, "retry", f.wait.String(), "err", err)
}

// apply applies all objects and returns all that went wrong.
func (a *Applier) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	var failures []error
	for _, o := range objects {
		if err := a.object(ctx, o); err != nil {
			failures = append(failures, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err))
		}
	}
	return errors.Join(failures...)
}

// object applies one object, with the namespace default where it needs one and has none.
func (a *Applier) object(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		a.mapper.Reset() // its definition may be new
		mapping, err = a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return err
	}
	var client dynamic.ResourceInterface = a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := o.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		client = a.client.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}
