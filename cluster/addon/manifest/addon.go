package manifest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// addon is an Addon object.
type addon struct {
	name     string
	uid      types.UID
	source   string
	checksum string
	objects  []ref // see set
}

// equal reports whether writing b over a would change nothing.
func (a addon) equal(b addon) bool {
	return a.uid == b.uid && a.source == b.source && a.checksum == b.checksum && slices.Equal(a.objects, b.objects)
}

// addons keeps the Addons.
type addons interface {
	List(ctx context.Context) ([]addon, error)
	// Put writes it, new or not, and returns its UID.
	Put(ctx context.Context, a addon) (types.UID, error)
	// Delete deletes it if it is there.
	Delete(ctx context.Context, name string) error
}

const gvksAnnotation = "addon.k3s.cattle.io/gvks"

//go:embed crd.yaml
var definition []byte

var _ addons = (*store)(nil)

// store keeps them in the cluster.
type store struct{ client dynamic.Interface }

// body is what an Addon has beside its metadata.
type body struct {
	Spec struct {
		Source   string `json:"source,omitempty"`
		Checksum string `json:"checksum,omitempty"`
	} `json:"spec"`
	Status struct {
		Objects []entry `json:"objects,omitempty"`
	} `json:"status"`
}

var errNotEstablished = errors.New("CustomResourceDefinition addons.k3s.cattle.io is not established yet")

// install writes the definition of Addons. It returns nil once they can be used.
func (s *store) install(ctx context.Context) error {
	var content map[string]any
	if err := yaml.Unmarshal(definition, &content); err != nil {
		return fmt.Errorf("BUG: crd.yaml: %w", err)
	}
	crds := s.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	o := &unstructured.Unstructured{Object: content}
	live, err := crds.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("apply CustomResourceDefinition %s: %w", o.GetName(), err)
	}
	if !established(live) {
		return errNotEstablished
	}
	return nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, ok := c.(map[string]any)
		return ok && m["type"] == "Established" && m["status"] == "True"
	})
}

func (s *store) resource() dynamic.ResourceInterface {
	return s.client.Resource(schema.GroupVersionResource{Group: "k3s.cattle.io", Version: "v1", Resource: "addons"}).Namespace(metav1.NamespaceSystem)
}

func (s *store) List(ctx context.Context) ([]addon, error) {
	list, err := s.resource().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Addons: %w", err)
	}
	out := make([]addon, 0, len(list.Items))
	for _, item := range list.Items {
		var b body
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &b); err != nil {
			return nil, fmt.Errorf("convert Addon %s: %w", item.GetName(), err)
		}
		out = append(out, addon{item.GetName(), item.GetUID(), b.Spec.Source, b.Spec.Checksum, unpack(b.Status.Objects)})
	}
	return out, nil
}

func (s *store) Put(ctx context.Context, a addon) (types.UID, error) {
	var b body
	b.Spec.Source, b.Spec.Checksum, b.Status.Objects = a.source, a.checksum, pack(a.objects)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&b)
	if err != nil {
		return "", fmt.Errorf("convert Addon %s: %w", a.name, err)
	}
	o := &unstructured.Unstructured{Object: content}
	o.SetAPIVersion("k3s.cattle.io/v1")
	o.SetKind("Addon")
	o.SetName(a.name)
	o.SetNamespace(metav1.NamespaceSystem)
	if k := kinds(a.objects); k != "" {
		o.SetAnnotations(map[string]string{gvksAnnotation: k})
	}
	live, err := s.resource().Apply(ctx, a.name, o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return "", fmt.Errorf("write Addon %s: %w", a.name, err)
	}
	return live.GetUID(), nil
}

func (s *store) Delete(ctx context.Context, name string) error {
	if err := s.resource().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Addon %s: %w", name, err)
	}
	return nil
}
