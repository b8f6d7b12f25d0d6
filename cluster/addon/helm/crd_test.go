package helm

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestDefinitionsAreWhole(t *testing.T) {
	all, err := crds()
	if err != nil || len(all) != 2 {
		t.Fatalf("crds = %d, %v", len(all), err)
	}
	// Every field of k3s's is accepted.
	want := map[string][]string{
		"helmcharts.helm.cattle.io": {
			"authPassCredentials", "authSecret", "backOffLimit", "bootstrap", "chart", "chartContent", "createNamespace", "dockerRegistrySecret", "driver",
			"failurePolicy", "forceConflicts", "helmVersion", "insecureSkipTLSVerify", "jobImage", "plainHTTP", "podSecurityContext", "repo", "repoCA",
			"repoCAConfigMap", "securityContext", "serverSide", "set", "takeOwnership", "targetNamespace", "timeout", "values", "valuesContent", "valuesSecrets", "version",
		},
		"helmchartconfigs.helm.cattle.io": {"failurePolicy", "forceConflicts", "serverSide", "values", "valuesContent", "valuesSecrets"},
	}
	for _, u := range all {
		versions, _, err := unstructured.NestedSlice(u.Object, "spec", "versions")
		if err != nil || len(versions) != 1 {
			t.Fatalf("%s: versions %v, %v", u.GetName(), versions, err)
		}
		props, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for k := range props {
			got = append(got, k)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[u.GetName()]) {
			t.Errorf("%s: fields %q, want %q", u.GetName(), got, want[u.GetName()])
		}
	}
}
