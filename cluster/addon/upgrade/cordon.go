package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// cordon keeps new pods from a node, in the name of an Upgrade. It reports whether it had to:
// a node that others have cordoned is left as it is.
func cordon(ctx context.Context, client kubernetes.Interface, node, by string) (did bool, err error) {
	err = patchNode(ctx, client, node, func(n *corev1.Node) map[string]any {
		if did = !n.Spec.Unschedulable; !did {
			return nil
		}
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationCordoned: by}}, "spec": map[string]any{"unschedulable": true}}
	})
	return did, err
}

// uncordon undoes cordon of the same Upgrade, and nothing else. A node that is gone is fine.
func uncordon(ctx context.Context, client kubernetes.Interface, node, by string) (did bool, err error) {
	err = patchNode(ctx, client, node, func(n *corev1.Node) map[string]any {
		if did = n.Annotations[annotationCordoned] == by; !did {
			return nil
		}
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationCordoned: nil}}, "spec": map[string]any{"unschedulable": nil}}
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return did, err
}

// patchNode makes a merge patch of what the node is now; nil: none.
func patchNode(ctx context.Context, client kubernetes.Interface, name string, change func(*corev1.Node) map[string]any) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		patch := change(n)
		if patch == nil {
			return nil
		}
		patch["metadata"].(map[string]any)["resourceVersion"] = n.ResourceVersion
		raw, err := json.Marshal(patch)
		if err != nil {
			return err
		}
		_, err = client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, raw, metav1.PatchOptions{FieldManager: component})
		return err
	})
}

// release uncordons the nodes that an Upgrade has cordoned for which left is true.
func release(ctx context.Context, client kubernetes.Interface, left func(upgrade, node string) bool) error {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var errs []error
	for i := range list.Items {
		n := &list.Items[i]
		by, ok := n.Annotations[annotationCordoned]
		if !ok || !left(by, n.Name) {
			continue
		}
		if _, err := uncordon(ctx, client, n.Name, by); err != nil {
			errs = append(errs, fmt.Errorf("uncordon node %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Remove uncordons what is cordoned in an Upgrade's name, for a cluster that has disabled
// upgrades. To call it again is safe.
func Remove(ctx context.Context, client kubernetes.Interface) error {
	return release(ctx, client, func(string, string) bool { return true })
}

// ready is the Ready condition of a Node.
func ready(n *corev1.Node) (is bool, why string) {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue, c.Message
		}
	}
	return false, "the kubelet has not reported yet"
}

// alone says that no other node could take a node's pods.
func alone(nodes []corev1.Node, name string) bool {
	for i := range nodes {
		n := &nodes[i]
		if is, _ := ready(n); n.Name != name && is && !n.Spec.Unschedulable {
			return false
		}
	}
	return true
}
