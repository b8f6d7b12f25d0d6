package manifest

import (
	"crypto/sha1" //nolint:gosec // k3s's label, no secret
	"encoding/hex"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// fieldManager owns the fields that manifests set.
	fieldManager = "keelson-manifest"

	markID        = "objectset.rio.cattle.io/id"
	markKind      = "objectset.rio.cattle.io/owner-gvk"
	markName      = "objectset.rio.cattle.io/owner-name"
	markNamespace = "objectset.rio.cattle.io/owner-namespace"
	markHash      = "objectset.rio.cattle.io/hash"
	markPrune     = "objectset.rio.cattle.io/prune"

	addonKind = "k3s.cattle.io/v1, Kind=Addon"
)

// mark says on the object that it is of the Addon of this name, as k3s does, and takes off
// what only the server may set: people save objects with kubectl get -o yaml.
func mark(o *unstructured.Unstructured, addon string) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[markID] = ""
	annotations[markKind] = addonKind
	annotations[markName] = addon
	annotations[markNamespace] = metav1.NamespaceSystem
	o.SetAnnotations(annotations)
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[markHash] = hash(addon)
	o.SetLabels(labels)
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
}

// hash is the label by which k3s finds an Addon's objects: over id (empty), kind, name and namespace.
func hash(addon string) string {
	sum := sha1.Sum([]byte(addonKind + addon + metav1.NamespaceSystem)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// ours reports whether the object in the cluster still is the Addon's, and may be deleted.
func ours(o metav1.Object, addon string) bool {
	a := o.GetAnnotations()
	if a[markKind] != addonKind || a[markName] != addon || a[markNamespace] != metav1.NamespaceSystem || a[markPrune] == "false" {
		return false
	}
	for _, m := range o.GetManagedFields() {
		if m.Manager == fieldManager {
			return true
		}
	}
	return false
}
