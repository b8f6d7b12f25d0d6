package storage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// wantsRemoval says whether the volume was made by us, on this node, and is to be removed.
func (c *controller) wantsRemoval(pv *corev1.PersistentVolume) bool {
	return pv.Annotations[annotationProvisionedBy] == provisionerName && pv.DeletionTimestamp == nil && condemned(pv) && c.isHere(pv)
}

// condemned says whether the volume's claim is gone and its data shall go too.
func condemned(pv *corev1.PersistentVolume) bool {
	return pv.Status.Phase == corev1.VolumeReleased && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
}

// isHere says whether the volume's folder is this node's. Every node answers for a volume
// that names none: on a shared file system each can remove it, and elsewhere somebody has to
// say what is wrong.
func (c *controller) isHere(pv *corev1.PersistentVolume) bool {
	node := pv.Annotations[annotationNode]
	if node == "" {
		node = hostname(pv)
	}
	if node == "" || node == c.node {
		return true
	}
	if pv.Spec.NodeAffinity != nil {
		return false
	}
	s, err := c.config.settings()
	if err != nil {
		return false
	}
	scope, err := s.of(pv.Spec.StorageClassName)
	return err == nil && scope.shared != ""
}

// hostname returns the one host that the volume's affinity names, or "".
func hostname(pv *corev1.PersistentVolume) string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == corev1.LabelHostname && e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}

// folder returns the path of the volume, or "".
func folder(pv *corev1.PersistentVolume) string {
	switch {
	case pv.Spec.HostPath != nil && pv.Spec.Local == nil:
		return pv.Spec.HostPath.Path
	case pv.Spec.Local != nil && pv.Spec.HostPath == nil:
		return pv.Spec.Local.Path
	}
	return ""
}

// remove removes a volume's folder, then its PersistentVolume. It may be repeated at any point.
func (c *controller) remove(ctx context.Context, name string) error {
	pv, err := c.volumes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !c.wantsRemoval(pv) {
		return nil
	}
	if err := c.removeData(pv); err != nil {
		return c.fail(pv, "VolumeFailedDelete", err)
	}
	// Not another volume of the same name.
	precondition := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pv.UID))}
	if err := c.client.CoreV1().PersistentVolumes().Delete(ctx, name, precondition); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return c.fail(pv, "VolumeFailedDelete", fmt.Errorf("delete PersistentVolume %s: %w", name, err))
	}
	return nil
}

// removeData removes the folder if the rules of the package's comment allow it.
func (c *controller) removeData(pv *corev1.PersistentVolume) error {
	path := folder(pv)
	if path == "" {
		return refuse("the volume is neither hostPath nor local: remove its data yourself and then this object")
	}
	class, err := c.classes.Get(pv.Spec.StorageClassName)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if apierrors.IsNotFound(err) {
		class = nil
	}
	base, below, err := locate(c.config.bases(), path, pv.Name, pv.Spec.ClaimRef, anyFolder(class))
	if err != nil {
		return err
	}
	others, err := c.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, o := range others {
		// One that is to go as well does not hold this one up, or two with the same folder would stay for ever.
		if p := folder(o); o.Name != pv.Name && p != "" && conflicts(base, path, p) && !condemned(o) && c.isHere(o) {
			return fmt.Errorf("path %s is not removed: PersistentVolume %s uses %s", path, o.Name, p)
		}
	}
	if err := removeFolder(base, below, c.mounts); err != nil {
		return err
	}
	c.log.Info("local storage: volume removed", "volume", pv.Name, "path", path)
	return nil
}
