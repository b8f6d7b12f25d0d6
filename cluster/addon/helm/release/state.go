package release

import (
	"context"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// State returns the newest revision of a release. It reads labels only: the releases
// themselves have the whole chart in them, ten times.
func (h *Helm) State(ctx context.Context, namespace, name, driver string) (State, error) {
	objects, err := h.list(ctx, namespace, name, driver)
	if err != nil {
		return State{}, fmt.Errorf("releases named %s in namespace %s: %w", name, namespace, err)
	}
	var s State
	for _, o := range objects {
		if revision, err := strconv.Atoi(o.Labels["version"]); err == nil && revision > s.Revision {
			s = State{Revision: revision, Status: o.Labels["status"], Hash: o.Labels[HashLabel]}
		}
	}
	return s, nil
}

// list returns the metadata of a release's revisions.
func list(ctx context.Context, cfg *rest.Config, namespace, name, driver string) ([]metav1.ObjectMeta, error) {
	client, err := metadata.NewForConfig(bind(ctx, cfg))
	if err != nil {
		return nil, err
	}
	resource := "secrets"
	if driver == "configmap" {
		resource = "configmaps"
	}
	selector := labels.Set{"owner": "helm", "name": name}.AsSelector().String()
	found, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	metas := make([]metav1.ObjectMeta, len(found.Items))
	for i := range found.Items {
		metas[i] = found.Items[i].ObjectMeta
	}
	return metas, nil
}
