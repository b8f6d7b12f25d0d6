package manifest

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ref names an object. Its namespace is empty if the kind has none, or if it is not known yet
// whether it has.
type ref struct {
	kind            schema.GroupVersionKind
	namespace, name string
}

// key is a ref without the version: an object is the same one in each version of its kind.
type key struct {
	kind            schema.GroupKind
	namespace, name string
}

func refOf(o *unstructured.Unstructured) ref {
	return ref{o.GroupVersionKind(), o.GetNamespace(), o.GetName()}
}

func (r ref) key() key { return key{r.kind.GroupKind(), r.namespace, r.name} }

// path is NAMESPACE/NAME or NAME.
func (r ref) path() string {
	if r.namespace == "" {
		return r.name
	}
	return r.namespace + "/" + r.name
}

func (r ref) String() string { return r.kind.Kind + " " + r.path() }

func compareRefs(a, b ref) int {
	return cmp.Or(
		cmp.Compare(a.kind.GroupVersion().String(), b.kind.GroupVersion().String()),
		cmp.Compare(a.kind.Kind, b.kind.Kind), cmp.Compare(a.path(), b.path()),
	)
}

// set sorts refs and drops doubles.
func set(refs []ref) []ref {
	out := slices.Clone(refs)
	slices.SortFunc(out, compareRefs)
	return slices.Compact(out)
}

// entry is how an Addon lists objects of one kind.
type entry struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Names      []string `json:"names"`
}

// pack groups refs by kind. The result is the same for the same set.
func pack(refs []ref) []entry {
	var out []entry
	for _, r := range set(refs) {
		version := r.kind.GroupVersion().String()
		if n := len(out); n == 0 || out[n-1].APIVersion != version || out[n-1].Kind != r.kind.Kind {
			out = append(out, entry{APIVersion: version, Kind: r.kind.Kind})
		}
		last := &out[len(out)-1]
		last.Names = append(last.Names, r.path())
	}
	return out
}

// unpack is pack's inverse. What names nothing is left out.
func unpack(entries []entry) []ref {
	var out []ref
	for _, e := range entries {
		kind := schema.FromAPIVersionAndKind(e.APIVersion, e.Kind)
		for _, path := range e.Names {
			namespace, name, found := strings.Cut(path, "/")
			if !found {
				namespace, name = "", path
			}
			if kind.Kind != "" && name != "" {
				out = append(out, ref{kind, namespace, name})
			}
		}
	}
	return set(out)
}

// kinds is the value of k3s's annotation.
func kinds(refs []ref) string {
	var out []string
	for _, e := range pack(refs) {
		out = append(out, schema.FromAPIVersionAndKind(e.APIVersion, e.Kind).String())
	}
	return strings.Join(out, ";")
}
