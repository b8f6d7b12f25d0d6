package helm

import (
	"context"
	"embed"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed crds/*.yaml
var crdFiles embed.FS

const (
	// fieldManager owns what this package writes to objects of its own kinds.
	fieldManager = "helm-controller"
	// pollCRD is how often a new definition is looked at; the API takes some 100 ms for one.
	pollCRD = 100 * time.Millisecond
)

func crdResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// crds returns the definitions of HelmChart and HelmChartConfig.
func crds() ([]*unstructured.Unstructured, error) {
	entries, err := crdFiles.ReadDir("crds")
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, e := range entries {
		text, err := crdFiles.ReadFile("crds/" + e.Name())
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			return nil, fmt.Errorf("BUG: crds/%s: %w", e.Name(), err)
		}
		all = append(all, u)
	}
	return all, nil
}

// define writes the definitions, which changes nothing where they are the same, and waits
// until the API serves them.
func define(ctx context.Context, client dynamic.Interface) error {
	all, err := crds()
	if err != nil {
		return err
	}
	for _, u := range all {
		if _, err := client.Resource(crdResource()).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", u.GetName(), err)
		}
	}
	for _, u := range all {
		for {
			have, err := client.Resource(crdResource()).Get(ctx, u.GetName(), metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("CustomResourceDefinition %s: %w", u.GetName(), err)
			}
			if established(have) {
				break
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pollCRD):
			}
		}
	}
	return nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}
