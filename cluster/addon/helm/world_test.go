package helm

import (
	"context"
	"log/slog"
	"testing"
	"testing/fstest"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/yaml"
)

// fakeReleases is Helm: it keeps what was asked for.
type fakeReleases struct {
	state   map[string]release.State // by namespace/name
	values  map[string]any           // of the last Apply
	target  release.Target
	applied int
	gone    []string
	fail    error
	during  func(ctx context.Context) error // runs in Apply
}

func (f *fakeReleases) State(_ context.Context, namespace, name, _ string) (release.State, error) {
	return f.state[namespace+"/"+name], nil
}

func (f *fakeReleases) Apply(ctx context.Context, t release.Target, content release.Content) (release.Info, error) {
	made, vals, err := content(ctx)
	if err != nil {
		return release.Info{}, err
	}
	f.target, f.values = t, vals
	f.applied++
	if f.during != nil {
		if err := f.during(ctx); err != nil {
			return release.Info{}, err
		}
	}
	if f.fail != nil {
		return release.Info{}, f.fail
	}
	s := f.state[t.Namespace+"/"+t.Name]
	f.state[t.Namespace+"/"+t.Name] = release.State{Revision: s.Revision + 1, Status: "deployed", Hash: t.Hash}
	return release.Info{Revision: s.Revision + 1, Chart: made.Metadata.Name + "-" + made.Metadata.Version, AppVersion: made.Metadata.AppVersion}, nil
}

func (f *fakeReleases) Uninstall(_ context.Context, t release.Target) error {
	if f.fail != nil {
		return f.fail
	}
	f.gone = append(f.gone, t.Namespace+"/"+t.Name)
	delete(f.state, t.Namespace+"/"+t.Name)
	return nil
}

// world is a controller and its cluster.
type world struct {
	*controller
	helm     *fakeReleases
	recorder *record.FakeRecorder
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{helm: &fakeReleases{state: map[string]release.State{}}, recorder: record.NewFakeRecorder(100)}
	w.controller = newController(clients{
		charts: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			chartsResource(): "HelmChartList", configsResource(): "HelmChartConfigList",
		}),
		objects: fake.NewClientset(objects...), releases: w.helm, events: w.recorder,
		source: &source.Fetcher{Packaged: fstest.MapFS{
			"traefik/Chart.yaml":        {Data: []byte("apiVersion: v2\nname: traefik\nversion: 38.0.1\nappVersion: v3.7.0\n")},
			"traefik/templates/cm.yaml": {Data: []byte("kind: ConfigMap\n")},
		}},
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(w.queue.ShutDown)
	return w
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// put creates or changes a HelmChart or HelmChartConfig.
func (w *world) put(t *testing.T, text string) {
	t.Helper()
	u := parse(t, text)
	resource := chartsResource()
	if u.GetKind() == "HelmChartConfig" {
		resource = configsResource()
	}
	api := w.charts.Resource(resource).Namespace(u.GetNamespace())
	have, err := api.Get(t.Context(), u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		u.SetGeneration(1)
		u.SetUID(types.UID(u.GetName()))
		_, err = api.Create(t.Context(), u, metav1.CreateOptions{})
	} else if err == nil {
		have.Object["spec"] = u.Object["spec"]
		have.SetGeneration(have.GetGeneration() + 1)
		_, err = api.Update(t.Context(), have, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// settle reconciles as long as there is something to do at once.
func (w *world) settle(t *testing.T, name string) error {
	t.Helper()
	for range 5 {
		again, err := w.reconcile(t.Context(), types.NamespacedName{Namespace: "kube-system", Name: name})
		if err != nil || !again {
			return err
		}
	}
	t.Fatal("it never settles")
	return nil
}

func (w *world) chart(t *testing.T, name string) *helmChart {
	t.Helper()
	u, err := w.charts.Resource(chartsResource()).Namespace("kube-system").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &helmChart{}
	if err := decode(u, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) condition(t *testing.T, name, kind string) condition {
	t.Helper()
	for _, c := range w.chart(t, name).Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return condition{}
}

func (w *world) events() []string {
	var all []string
	for len(w.recorder.Events) > 0 {
		all = append(all, <-w.recorder.Events)
	}
	return all
}

// remove marks a HelmChart as being deleted, as the API does for one with a finalizer.
func (w *world) remove(t *testing.T, name string) {
	t.Helper()
	api := w.charts.Resource(chartsResource()).Namespace("kube-system")
	u, err := api.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	u.SetDeletionTimestamp(&now)
	if _, err := api.Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// The two examples of k3s's documentation.
const (
	traefik = `
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: traefik, namespace: kube-system}
spec:
  chart: https://%{KUBERNETES_API}%/static/charts/traefik.tgz
  jobImage: rancher/klipper-helm:v0.9.8
  bootstrap: true
  set:
    global.systemDefaultRegistry: ""
  valuesContent: |-
    ports:
      web: {exposedPort: 80}
      websecure: {exposedPort: 443}
    priorityClassName: "system-cluster-critical"
`
	traefikConfig = `
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: traefik, namespace: kube-system}
spec:
  valuesContent: |-
    ports:
      web:
        exposedPort: 8080
      websecure:
        exposedPort: 8443
`
)
