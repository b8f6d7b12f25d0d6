package manifest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// apiServer answers as an API server would for ConfigMaps, Addons and their definition. It
// notes what is asked.
type apiServer struct {
	t           *testing.T
	asked       []string
	bodies      []map[string]any
	terminating bool
	live        metav1.PartialObjectMetadata
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.t.Error(err)
		}
	}
	body := map[string]any{}
	if text, err := io.ReadAll(r.Body); err == nil && len(text) > 0 {
		if err := json.Unmarshal(text, &body); err != nil {
			s.t.Errorf("%s %s: body %q: %v", r.Method, r.URL, text, err)
		}
		s.bodies = append(s.bodies, body)
	}
	switch {
	case r.URL.Path == "/api/v1":
		answer(http.StatusOK, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1",
			APIResources: []metav1.APIResource{{Name: "configmaps/status", Kind: "ConfigMap"}, {Name: "configmaps", Kind: "ConfigMap", Namespaced: true}},
		})
	case r.Method == http.MethodPatch:
		metadata, _ := body["metadata"].(map[string]any)
		metadata["uid"] = "u1"
		if s.terminating {
			metadata["deletionTimestamp"] = "2026-11-25T12:00:00Z"
		}
		body["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Established", "status": "True"}}}
		answer(http.StatusOK, body)
	case r.Method == http.MethodGet && s.live.Name != "" && strings.HasSuffix(r.URL.Path, "/"+s.live.Name):
		answer(http.StatusOK, s.live)
	case r.Method == http.MethodDelete:
		answer(http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	default:
		answer(http.StatusNotFound, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
		})
	}
}

func serve(t *testing.T) (*apiServer, *clients) {
	t.Helper()
	s := &apiServer{t: t}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := connect(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

var configMap = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

func TestApplyIsOneServerSideApplyWithMarks(t *testing.T) {
	s, c := serve(t)
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "one", "namespace": "shop", "resourceVersion": "7", "managedFields": []any{map[string]any{"manager": "x"}}},
	}}
	mark(o, "app")
	if err := c.cluster.Apply(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /api/v1", "PATCH /api/v1/namespaces/shop/configmaps/one?fieldManager=keelson-manifest&force=true"}
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q, want %q", s.asked, want)
	}
	sent := &unstructured.Unstructured{Object: s.bodies[0]}
	if a := sent.GetAnnotations(); a[markName] != "app" || a[markKind] != addonKind || sent.GetLabels()[markHash] != hash("app") || sent.GetResourceVersion() != "" {
		t.Errorf("sent %v, want the marks and no resourceVersion", s.bodies[0])
	}
	s.terminating = true
	if err := c.cluster.Apply(t.Context(), o); !errors.Is(err, errTerminating) {
		t.Errorf("Apply of what is being deleted = %v, want %v", err, errTerminating)
	}
	o.SetAPIVersion("example.org/v1")
	if err := c.cluster.Apply(t.Context(), o); !errors.Is(err, errUnknownKind) {
		t.Errorf("Apply of an unknown kind = %v, want %v", err, errUnknownKind)
	}
}

func TestDeleteIsOfTheVersionThatWasSeenToBeOurs(t *testing.T) {
	s, c := serve(t)
	r := ref{configMap, "shop", "one"}
	if deleted, err := c.cluster.Delete(t.Context(), r, "app"); deleted || err != nil {
		t.Errorf("Delete of what is not there = %v, %v, want false, nil", deleted, err)
	}
	if deleted, err := c.cluster.Delete(t.Context(), ref{schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Thing"}, "", "x"}, "app"); deleted || err != nil {
		t.Errorf("Delete of an unknown kind = %v, %v, want false, nil", deleted, err)
	}
	s.live = metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "one", Namespace: "shop", UID: "u1", ResourceVersion: "42",
			Annotations:   map[string]string{markKind: addonKind, markName: "app", markNamespace: "kube-system"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: fieldManager}},
		},
	}
	if deleted, err := c.cluster.Delete(t.Context(), r, "other"); deleted || err != nil {
		t.Errorf("Delete of another's = %v, %v, want false, nil", deleted, err)
	}
	if deleted, err := c.cluster.Delete(t.Context(), r, "app"); !deleted || err != nil {
		t.Fatalf("Delete = %v, %v, want true, nil", deleted, err)
	}
	if last := s.asked[len(s.asked)-1]; last != "DELETE /api/v1/namespaces/shop/configmaps/one" {
		t.Errorf("asked %q at last", last)
	}
	sent := s.bodies[len(s.bodies)-1]
	if p, _ := sent["preconditions"].(map[string]any); p["uid"] != "u1" || p["resourceVersion"] != "42" || sent["propagationPolicy"] != "Background" {
		t.Errorf("sent %v, want preconditions and background propagation", sent)
	}
}

func TestStoreWritesK3ssAddon(t *testing.T) {
	s, c := serve(t)
	if err := c.store.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	columns, _, _ := unstructured.NestedSlice(s.bodies[0], "spec", "versions")
	if len(columns) != 1 || s.bodies[0]["kind"] != "CustomResourceDefinition" {
		t.Errorf("the definition sent is %v", s.bodies[0])
	}
	uid, err := c.store.Put(t.Context(), addon{name: "app", source: "/m/app.yaml", checksum: "abc", objects: []ref{{configMap, "shop", "one"}}})
	if err != nil || uid != "u1" {
		t.Fatalf("Put = %q, %v, want u1", uid, err)
	}
	if last := s.asked[len(s.asked)-1]; !strings.HasPrefix(last, "PATCH /apis/k3s.cattle.io/v1/namespaces/kube-system/addons/app?") {
		t.Errorf("asked %q", last)
	}
	sent := &unstructured.Unstructured{Object: s.bodies[1]}
	source, _, _ := unstructured.NestedString(sent.Object, "spec", "source")
	if source != "/m/app.yaml" || sent.GetAnnotations()[gvksAnnotation] != "/v1, Kind=ConfigMap" {
		t.Errorf("sent %v", sent.Object)
	}
	if err := c.store.Delete(t.Context(), "app"); err != nil {
		t.Error(err)
	}
}
