package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
)

func TestPackagedChartAndItsConfig(t *testing.T) {
	w := newWorld(t)
	w.put(t, traefik)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	c := w.chart(t, "traefik")
	if !slices.Contains(c.Finalizers, finalizer) || c.Annotations[annotationManagedBy] != managedBy {
		t.Errorf("finalizers %q, annotations %q", c.Finalizers, c.Annotations)
	}
	if got, want := w.condition(t, "traefik", typeReady), (condition{typeReady, "True", "Deployed", "Release traefik revision 1 of chart traefik-38.0.1 (app version v3.7.0) is deployed in namespace kube-system"}); got != want {
		t.Errorf("Ready = %+v, want %+v", got, want)
	}
	if got := w.condition(t, "traefik", typeFailed).Status; got != "False" {
		t.Errorf("Failed = %q, want False", got)
	}
	w.put(t, traefikConfig)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"ports": map[string]any{
			"web":       map[string]any{"exposedPort": 8080.0},
			"websecure": map[string]any{"exposedPort": 8443.0},
		},
		"priorityClassName": "system-cluster-critical",
		"global":            map[string]any{"systemDefaultRegistry": ""},
	}
	if !reflect.DeepEqual(w.helm.values, want) {
		t.Errorf("values = %v, want %v", w.helm.values, want)
	}
	if got := w.condition(t, "traefik", typeReady).Message; !strings.Contains(got, "revision 2 ") {
		t.Errorf("Ready = %q, want revision 2", got)
	}
}

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	w := newWorld(t)
	w.put(t, traefik)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	w.events()
	before := len(w.charts.(*dynamicfake.FakeDynamicClient).Actions())
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	if w.helm.applied != 1 {
		t.Errorf("applied %d times, want once", w.helm.applied)
	}
	for _, a := range w.charts.(*dynamicfake.FakeDynamicClient).Actions()[before:] {
		if a.GetVerb() != "get" {
			t.Errorf("second round: %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
	if e := w.events(); len(e) != 0 {
		t.Errorf("events of the second round: %q", e)
	}
}

func TestHowToFetchIsNoReasonForAnUpgrade(t *testing.T) {
	w := newWorld(t)
	w.put(t, traefik)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		from, to string
		applied  int
	}{
		{"bootstrap: true", "bootstrap: false", 1},
		{"bootstrap: true", "timeout: 10m", 1},
		{"bootstrap: true", "failurePolicy: abort", 1},
		{"bootstrap: true", "backOffLimit: 3", 1},
		{"bootstrap: true", "targetNamespace: other", 2},
		{"exposedPort: 80}", "exposedPort: 81}", 3},
		{`systemDefaultRegistry: ""`, `systemDefaultRegistry: x`, 4},
		{"bootstrap: true", "values: {a: 1}", 5},
	} {
		w.put(t, strings.Replace(traefik, change.from, change.to, 1))
		if err := w.settle(t, "traefik"); err != nil {
			t.Fatal(err)
		}
		if w.helm.applied != change.applied {
			t.Errorf("after %q: applied %d times, want %d", change.to, w.helm.applied, change.applied)
		}
	}
}

func TestPrecedenceOfValuesIsK3s(t *testing.T) {
	secret := func(name string, data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, ResourceVersion: "1"}, Data: data}
	}
	w := newWorld(t,
		secret("one", map[string][]byte{"a": []byte("v: {s1: x, s2: x, c1: x, c2: x, c3: x, set: x}"), "b": []byte("v: {s2: late, c1: x, c2: x, c3: x, set: x}")}),
		secret("two", map[string][]byte{"a": []byte("v: {c3: right, set: x}")}),
	)
	w.put(t, `
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: app, namespace: kube-system}
spec:
  chart: https://%{KUBERNETES_API}%/static/charts/traefik.tgz
  set: {v.set: right}
  values: {v: {vals: right, s1: z, s2: z, c1: z, c2: z, c3: z, set: z}}
  valuesContent: "v: {content: right, vals: w, s1: w, s2: w, c1: w, c2: w, c3: w, set: w}"
  valuesSecrets:
  - {name: one, keys: [a, b]}
  - {name: missing, keys: [a], ignoreUpdates: true}
  - {name: two, ignoreUpdates: true, keys: [nope]}
  - {name: nokeys}
  - {name: chart-values-app, keys: [x]}
`)
	w.put(t, `
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: app, namespace: kube-system}
spec:
  failurePolicy: retry
  forceConflicts: true
  serverSide: "true"
  values: {v: {c2: right, c3: u, set: u}}
  valuesContent: "v: {c1: right, c2: t, c3: t, set: t}"
  valuesSecrets: [{name: two, keys: [a]}]
`)
	if err := w.settle(t, "app"); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"v": map[string]any{
		"content": "right", "vals": "right", "s1": "x", "s2": "late", "c1": "right", "c2": "right", "c3": "right", "set": "right",
	}}
	if !reflect.DeepEqual(w.helm.values, want) {
		t.Errorf("values = %v, want %v", w.helm.values, want)
	}
	if g := w.helm.target; g.Policy != release.Retry || g.ServerSide != "true" || !g.ForceConflicts {
		t.Errorf("target = %+v, want what the HelmChartConfig says", g)
	}
	for _, tt := range []struct {
		secret string
		charts int
	}{{"one", 1}, {"two", 1}, {"missing", 0}, {"nokeys", 0}} {
		if got := len(w.secrets[types.NamespacedName{Namespace: "kube-system", Name: tt.secret}]); got != tt.charts {
			t.Errorf("Secret %s is followed for %d charts, want %d", tt.secret, got, tt.charts)
		}
	}
	if _, err := w.objects.CoreV1().Secrets("kube-system").Update(t.Context(), secret("two", map[string][]byte{"a": []byte("v: {c3: changed}")}), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.settle(t, "app"); err != nil || w.helm.applied != 2 {
		t.Errorf("after a change of a Secret: applied %d times, %v, want 2", w.helm.applied, err)
	}
}

func TestErrorsAreInTheConditionAndOneEvent(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		fail           error
		reason         string
		words          []string
	}{
		{"broken values", "valuesContent: |-", "valuesContent: \"a: [\"\n  junk: |-", nil, "Invalid", []string{"HelmChart spec.valuesContent", "YAML map"}},
		{"a missing Secret", "bootstrap: true", "valuesSecrets: [{name: nope, keys: [a]}]", nil, "Invalid", []string{"spec.valuesSecrets", "nope", "not found"}},
		{"a missing chart", "charts/traefik.tgz", "charts/nope.tgz", nil, "FetchFailed", []string{"charts/nope.tgz", "put the chart's archive there"}},
		{"no chart", "chart: https://%{KUBERNETES_API}%/static/charts/traefik.tgz", "repo: https://charts.example.com", nil, "FetchFailed", []string{"spec.chart"}},
		{"a missing authSecret", "chart: https://%{KUBERNETES_API}%/static/charts/traefik.tgz", "chart: https://127.0.0.1:1/x.tgz\n  authSecret: {name: nope}", nil, "Invalid", []string{"spec.authSecret", "nope"}},
		{"a missing CA", "chart: https://%{KUBERNETES_API}%/static/charts/traefik.tgz", "chart: https://127.0.0.1:1/x.tgz\n  repoCAConfigMap: {name: nope}", nil, "Invalid", []string{"spec.repoCAConfigMap", "nope"}},
		{"a timeout that is none", "bootstrap: true", "timeout: soon", nil, "Invalid", []string{"spec.timeout", "soon", "300s"}},
		{"helm's words", "", "", errors.New(`template: app/templates/x.yaml:3: "color" is required`), "ApplyFailed", []string{`"color" is required`}},
		{"abort", "", "", release.ErrAborted, "Aborted", []string{"abort"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.helm.fail = tt.fail
			w.put(t, strings.Replace(traefik, tt.from, tt.to, 1))
			for range 2 {
				if err := w.settle(t, "traefik"); err == nil {
					t.Fatal("no error, so no second try")
				}
			}
			ready, failed := w.condition(t, "traefik", typeReady), w.condition(t, "traefik", typeFailed)
			if ready.Status != "False" || failed.Status != "True" || failed.Reason != tt.reason || ready.Message != failed.Message {
				t.Errorf("Ready = %+v, Failed = %+v, want reason %s in both", ready, failed, tt.reason)
			}
			for _, word := range tt.words {
				if !strings.Contains(failed.Message, word) {
					t.Errorf("message %q has no %q", failed.Message, word)
				}
			}
			warnings := 0
			for _, e := range w.events() {
				if strings.HasPrefix(e, "Warning") {
					warnings++
				}
			}
			if warnings != 1 {
				t.Errorf("%d warnings, want one", warnings)
			}
			w.helm.fail = nil
			w.put(t, traefik)
			if err := w.settle(t, "traefik"); err != nil {
				t.Fatal(err)
			}
			if r, f := w.condition(t, "traefik", typeReady), w.condition(t, "traefik", typeFailed); r.Status != "True" || f != (condition{Type: typeFailed, Status: "False"}) {
				t.Errorf("once repaired: Ready = %+v, Failed = %+v", r, f)
			}
		})
	}
}

func TestHelm2IsRefusedOnce(t *testing.T) {
	w := newWorld(t)
	w.put(t, strings.Replace(traefik, "bootstrap: true", "helmVersion: v2", 1))
	if err := w.settle(t, "traefik"); err != nil {
		t.Errorf("reconcile = %v, want no second try", err)
	}
	if f := w.condition(t, "traefik", typeFailed); f.Status != "True" || f.Reason != "UnsupportedVersion" {
		t.Errorf("Failed = %+v", f)
	}
}

func TestDeletionUninstallsWithoutTheChart(t *testing.T) {
	w := newWorld(t)
	w.put(t, traefik)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	w.source.Packaged = nil
	w.remove(t, "traefik")
	w.helm.fail = errors.New("forbidden")
	if err := w.settle(t, "traefik"); err == nil {
		t.Error("no error, so no second try")
	}
	if f := w.condition(t, "traefik", typeFailed); f.Reason != "UninstallFailed" || !strings.Contains(f.Message, "forbidden") {
		t.Errorf("Failed = %+v", f)
	}
	if c := w.chart(t, "traefik"); !slices.Contains(c.Finalizers, finalizer) {
		t.Error("the finalizer is gone before the release")
	}
	w.helm.fail = nil
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.helm.gone, []string{"kube-system/traefik"}) {
		t.Errorf("uninstalled %q", w.helm.gone)
	}
	if c := w.chart(t, "traefik"); slices.Contains(c.Finalizers, finalizer) {
		t.Error("the finalizer stays")
	}
}

func TestDeletionOfAHelmChartThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.put(t, strings.Replace(traefik, `systemDefaultRegistry: ""`, "systemDefaultRegistry: 99999999999", 1))
	if _, err := w.reconcile(t.Context(), types.NamespacedName{Namespace: "kube-system", Name: "traefik"}); err == nil {
		t.Fatal("no error")
	}
	api := w.charts.Resource(chartsResource()).Namespace("kube-system")
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": []string{finalizer}}})
	if _, err := api.Patch(t.Context(), "traefik", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.remove(t, "traefik")
	if err := w.settle(t, "traefik"); err != nil || len(w.helm.gone) != 1 {
		t.Errorf("settle = %v, uninstalled %q", err, w.helm.gone)
	}
}

func TestOthersHelmChartsAreLeftAlone(t *testing.T) {
	for _, annotation := range []string{annotationUnmanaged + `: "true"`, annotationManagedBy + ": rancher"} {
		w := newWorld(t)
		w.put(t, strings.Replace(traefik, "namespace: kube-system}", "namespace: kube-system, annotations: {"+annotation+"}}", 1))
		if err := w.settle(t, "traefik"); err != nil || w.helm.applied != 0 {
			t.Errorf("%s: applied %d times, %v", annotation, w.helm.applied, err)
		}
		if c := w.chart(t, "traefik"); len(c.Finalizers) != 0 || len(c.Status.Conditions) != 0 {
			t.Errorf("%s: finalizers %q, conditions %v", annotation, c.Finalizers, c.Status.Conditions)
		}
	}
}

func TestUnmanagedHelmChartMayBeDeletedAndKeepsItsRelease(t *testing.T) {
	w := newWorld(t)
	w.put(t, strings.Replace(traefik, "namespace: kube-system}", "namespace: kube-system, finalizers: ["+finalizer+"], annotations: {"+annotationUnmanaged+": \"\"}}", 1))
	w.remove(t, "traefik")
	if err := w.settle(t, "traefik"); err != nil || len(w.helm.gone) != 0 {
		t.Errorf("settle = %v, uninstalled %q", err, w.helm.gone)
	}
	if c := w.chart(t, "traefik"); len(c.Finalizers) != 0 {
		t.Errorf("finalizers = %q", c.Finalizers)
	}
}

func TestReleaseOfK3sIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.helm.state["kube-system/traefik"] = release.State{Revision: 4, Status: "deployed", Hash: "k3s-made-this"}
	w.put(t, traefik)
	if err := w.settle(t, "traefik"); err != nil {
		t.Fatal(err)
	}
	if got := w.helm.state["kube-system/traefik"].Revision; got != 5 || w.helm.applied != 1 {
		t.Errorf("revision %d, applied %d times, want an upgrade to 5", got, w.helm.applied)
	}
}

func TestChartContentIsApplied(t *testing.T) {
	var raw bytes.Buffer
	zip := gzip.NewWriter(&raw)
	archive := tar.NewWriter(zip)
	const text = "apiVersion: v2\nname: inline\nversion: 0.1.0\n"
	if err := archive.WriteHeader(&tar.Header{Name: "inline/Chart.yaml", Size: int64(len(text)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(archive, text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.put(t, "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: inline, namespace: kube-system}\nspec:\n  targetNamespace: web\n  createNamespace: true\n  timeout: 90s\n  chartContent: "+base64.StdEncoding.EncodeToString(raw.Bytes())+"\n")
	if err := w.settle(t, "inline"); err != nil {
		t.Fatal(err)
	}
	if g := w.helm.target; g.Name != "inline" || g.Namespace != "web" || !g.CreateNamespace || g.Timeout.Seconds() != 90 || len(g.Hash) != hashLength {
		t.Errorf("target = %+v", g)
	}
	if got := w.condition(t, "inline", typeReady).Message; !strings.Contains(got, "chart inline-0.1.0") || !strings.Contains(got, "namespace web") {
		t.Errorf("Ready = %q", got)
	}
}
