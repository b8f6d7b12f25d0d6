package helm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metadatafake "k8s.io/client-go/metadata/fake"
)

func metaOf(u *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(), Generation: u.GetGeneration(), ResourceVersion: u.GetResourceVersion(),
	}}
}

func TestChangeEndsTheActionUnderWayButItsOwnEventDoesNot(t *testing.T) {
	w := newWorld(t)
	w.put(t, traefik)
	get := func(resource schema.GroupVersionResource) *metav1.PartialObjectMetadata {
		u, err := w.charts.Resource(resource).Namespace("kube-system").Get(t.Context(), "traefik", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return metaOf(u)
	}
	w.helm.during = func(ctx context.Context) error {
		w.changed("helmcharts", get(chartsResource()), false)
		return context.Cause(ctx)
	}
	if err := w.settle(t, "traefik"); err != nil || w.helm.state["kube-system/traefik"].Revision != 1 {
		t.Fatalf("after a late event: %v, state %+v, want it deployed", err, w.helm.state)
	}
	w.put(t, strings.Replace(traefik, "exposedPort: 80}", "exposedPort: 81}", 1))
	for i, change := range []func(){
		func() { m := get(chartsResource()); m.Generation++; w.changed("helmcharts", m, false) },
		func() { w.put(t, traefikConfig); w.changed("helmchartconfigs", get(configsResource()), false) },
		func() { w.changed("helmchartconfigs", get(configsResource()), true) },
	} {
		w.helm.during = func(ctx context.Context) error {
			change()
			<-ctx.Done()
			return ctx.Err()
		}
		if err := w.settle(t, "traefik"); err != nil {
			t.Errorf("change %d: %v, want no error: it is in the queue", i, err)
		}
		if f := w.condition(t, "traefik", typeFailed); f.Status == "True" {
			t.Errorf("change %d: Failed = %+v", i, f)
		}
	}
	if w.queue.Len() == 0 {
		t.Error("nothing is in the queue")
	}
}

func TestStatusAloneIsNoChange(t *testing.T) {
	now := metav1.Now()
	base := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: "u", Generation: 2, ResourceVersion: "5"}}
	for _, tt := range []struct {
		name   string
		change func(*metav1.PartialObjectMetadata)
		same   bool
	}{
		{"the status", func(m *metav1.PartialObjectMetadata) { m.ResourceVersion = "6" }, true},
		{"the spec", func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.Generation = "6", 3 }, false},
		{"deletion", func(m *metav1.PartialObjectMetadata) { m.DeletionTimestamp = &now }, false},
		{"another object", func(m *metav1.PartialObjectMetadata) { m.UID = "v" }, false},
		{"unmanaged", func(m *metav1.PartialObjectMetadata) { m.Annotations = map[string]string{annotationUnmanaged: "x"} }, false},
		{"a Secret", func(m *metav1.PartialObjectMetadata) { m.Generation, m.ResourceVersion = 0, "6" }, false},
	} {
		after := *base.DeepCopy()
		tt.change(&after)
		if got := same(&base, &after); got != tt.same {
			t.Errorf("%s: same = %v, want %v", tt.name, got, tt.same)
		}
	}
}

func TestAWaitingActionLetsTheNextOneBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &controller{turn: make(chan struct{}, 1)}
		began := time.Now()
		first, ok := c.take(t.Context())
		if !ok {
			t.Fatal("no turn")
		}
		second, ok := c.take(t.Context()) // the first one still works
		if waited := time.Since(began); !ok || waited != patience {
			t.Errorf("the second turn came after %s, want %s", waited, patience)
		}
		first() // is late, and must not give up the second one's turn
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		if _, ok := c.take(ctx); ok {
			t.Error("a third turn while the second one works")
		}
		second()
		third, ok := c.take(t.Context())
		if !ok {
			t.Fatal("no turn after the second one ended")
		}
		third()
	})
}

func TestRunActsOnWhatIsThereAndOnWhatComes(t *testing.T) {
	w := newWorld(t)
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	known := metadatafake.NewSimpleMetadataClient(scheme)
	w.metadata = known
	tell := func(resource schema.GroupVersionResource, name string) {
		t.Helper()
		u, err := w.charts.Resource(resource).Namespace("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m := metaOf(u)
		m.APIVersion, m.Kind = u.GetAPIVersion(), u.GetKind()
		if err := known.Tracker().Create(resource, m, "kube-system"); err != nil {
			t.Fatal(err)
		}
	}
	applied := make(chan string, 10)
	w.helm.during = func(context.Context) error {
		applied <- w.helm.target.Name
		return nil
	}
	w.put(t, traefik)
	tell(chartsResource(), "traefik")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error)
	go func() { ended <- w.run(ctx, func() { close(ready) }) }()
	<-ready
	if got := <-applied; got != "traefik" {
		t.Errorf("applied %s first, want traefik", got)
	}
	w.put(t, strings.ReplaceAll(traefik, "name: traefik", "name: later"))
	tell(chartsResource(), "later")
	if got := <-applied; got != "later" {
		t.Errorf("applied %s then, want later", got)
	}
	w.put(t, traefikConfig)
	tell(configsResource(), "traefik")
	if got := <-applied; got != "traefik" {
		t.Errorf("applied %s after its HelmChartConfig came, want traefik", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want it to end with its context", err)
	}
}
