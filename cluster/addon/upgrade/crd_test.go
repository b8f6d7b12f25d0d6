package upgrade

import (
	"context"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/overlays"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// definition reads the packaged manifest.
func definition(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := fs.ReadFile(overlays.Manifests(), "upgrade.yaml")
	if err != nil {
		t.Fatal(err)
	}
	external := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, external); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(external)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&external.Spec)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(external, internal, nil); err != nil {
		t.Fatal(err)
	}
	return internal
}

func schemaOf(t *testing.T, crd *apiextensions.CustomResourceDefinition) (*apiextensions.CustomResourceValidation, *structural.Structural) {
	t.Helper()
	v := crd.Spec.Validation
	if v == nil {
		v = crd.Spec.Versions[0].Schema
	}
	s, err := structural.NewStructural(v.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return v, s
}

func TestTheAPITakesTheDefinition(t *testing.T) {
	crd := definition(t)
	crd.Status.StoredVersions = []string{version} // as the API server sets it
	if errs := validation.ValidateCustomResourceDefinition(t.Context(), crd); len(errs) > 0 {
		t.Errorf("%v", errs.ToAggregate())
	}
	if crd.Name != resource().Resource+"."+group || crd.Spec.Names.Kind != kind || crd.Spec.Versions[0].Name != version {
		t.Errorf("%s %s %s is not what the controller works with", crd.Name, crd.Spec.Names.Kind, crd.Spec.Versions[0].Name)
	}
}

func TestTheDefinitionHasTheFieldsThatTheControllerReadsAndWrites(t *testing.T) {
	_, s := schemaOf(t, definition(t))
	var compare func(path string, s structural.Structural, typ reflect.Type)
	compare = func(path string, s structural.Structural, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
			if s.Items != nil {
				s = *s.Items
			}
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[upgrade]().PkgPath() {
			return
		}
		var here, there []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			here = append(here, name)
			compare(path+"."+name, s.Properties[name], typ.Field(i).Type)
		}
		for name := range s.Properties {
			there = append(there, name)
		}
		slices.Sort(here)
		slices.Sort(there)
		if !slices.Equal(here, there) {
			t.Errorf("%s: the definition has %q, the code %q", path, there, here)
		}
	}
	compare("spec", s.Properties["spec"], reflect.TypeFor[spec]())
	compare("status", s.Properties["status"], reflect.TypeFor[status]())
}

func TestWhatTheAPISaysToASpec(t *testing.T) {
	v, s := schemaOf(t, definition(t))
	byType, _, err := apivalidation.NewSchemaValidator(v.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	rules := cel.NewValidator(s, true, celconfig.PerCallLimit)
	for _, c := range []struct {
		name, spec string
		want       string // in the error; empty: accepted
	}{
		{"least", "bundle: {url: https://example.test/v2.keelson}", ""},
		{"all", `
bundle: {url: "http://10.0.0.1:8000/v2.keelson", sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
nodeSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [d]}]}
concurrency: 3
drain: {enabled: false, timeoutSeconds: 60, force: true, deleteEmptyDirData: false, skipSingleNode: false}
window: {start: "22:00", end: "05:00", timeZone: Europe/Berlin, days: [Sat, Sun]}
paused: true`, ""},
		{"a file of the node", "bundle: {url: file:///var/lib/rancher/v2.keelson}", ""},
		{"a file elsewhere", "bundle: {url: file:///etc/passwd}", "expected https://"},
		{"a way out", "bundle: {url: file:///var/lib/rancher/../../etc/passwd}", "expected https://"},
		{"no scheme", "bundle: {url: v2.keelson}", "expected https://"},
		{"no path", "bundle: {url: https://example.test}", "expected https://"},
		{"no bundle", "paused: true", "spec.bundle"},
		{"no url", "bundle: {}", "spec.bundle.url"},
		{"short digest", "bundle: {url: https://x.test/a, sha256: abc}", "spec.bundle.sha256"},
		{"no concurrency", "bundle: {url: https://x.test/a}\nconcurrency: 0", "spec.concurrency"},
		{"25 hours", "bundle: {url: https://x.test/a}\nwindow: {start: \"25:00\", end: \"05:00\"}", "spec.window.start"},
		{"an empty window", "bundle: {url: https://x.test/a}\nwindow: {start: \"05:00\", end: \"05:00\"}", "the same time"},
		{"half a window", "bundle: {url: https://x.test/a}\nwindow: {start: \"05:00\"}", "spec.window.end"},
		{"no such day", "bundle: {url: https://x.test/a}\nwindow: {start: \"05:00\", end: \"06:00\", days: [Sunday]}", "spec.window.days"},
		{"an endless drain", "bundle: {url: https://x.test/a}\ndrain: {timeoutSeconds: 0}", "spec.drain.timeoutSeconds"},
		{"a zone that is none", "bundle: {url: https://x.test/a}\nwindow: {start: \"05:00\", end: \"06:00\", timeZone: Nowhere}", "spec.window.timeZone"},
	} {
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte("apiVersion: keelson.dev/v1alpha1\nkind: Upgrade\nmetadata: {name: x}\nspec: {}"), &object); err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := yaml.Unmarshal([]byte(c.spec), &content); err != nil {
			t.Fatal(err)
		}
		object["spec"] = content
		defaulting.Default(object, s)
		pruning.Prune(object, s, true)
		errs := apivalidation.ValidateCustomResource(nil, object, byType)
		if len(errs) == 0 {
			ruled, _ := rules.Validate(context.Background(), field.NewPath(""), s, object, nil, celconfig.RuntimeCELCostBudget)
			errs = ruled
		}
		var err error = errs.ToAggregate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil {
			continue
		}
		u, err := decode(&unstructured.Unstructured{Object: object})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.name == "least" && (u.Spec.Concurrency != 1 || !*u.Spec.Drain.Enabled || u.Spec.Drain.TimeoutSeconds != 300 || !*u.Spec.Drain.SkipSingleNode || !*u.Spec.Drain.DeleteEmptyDirData || u.Spec.Drain.Force) {
			t.Errorf("defaults: %+v", u.Spec)
		}
	}
}
