package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// Annotations that others write or read.
const (
	// On a claim, by the persistent volume controller and, for the node, the scheduler.
	annotationProvisioner     = "volume.kubernetes.io/storage-provisioner"
	annotationProvisionerBeta = "volume.beta.kubernetes.io/storage-provisioner"
	annotationSelectedNode    = "volume.kubernetes.io/selected-node"
	// On a volume, by us.
	annotationProvisionedBy = "pv.kubernetes.io/provisioned-by"
	annotationNode          = "local.path.provisioner/selected-node"
	// By the user, on a claim and on a class: "local" or "hostPath".
	annotationVolumeType        = "volumeType"
	annotationDefaultVolumeType = "defaultVolumeType"
)

// Parameters of a StorageClass.
const (
	parameterNodePath    = "nodePath"
	parameterAffinityKey = "nodeAffinityKey"
)

// wantsVolume says whether the claim waits for this node, or, if no node is selected, for any.
func (c *controller) wantsVolume(claim *corev1.PersistentVolumeClaim) bool {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return false
	}
	p, ok := claim.Annotations[annotationProvisioner]
	if !ok {
		p = claim.Annotations[annotationProvisionerBeta]
	}
	node := claim.Annotations[annotationSelectedNode]
	return p == provisionerName && (node == "" || node == c.node)
}

// provision makes the folder and the PersistentVolume of a claim. It may be repeated at
// any point. If creating the PersistentVolume fails until the claim is gone, an empty folder stays behind.
func (c *controller) provision(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	claim, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !c.wantsVolume(claim) {
		return nil
	}
	volume := "pvc-" + string(claim.UID)
	if _, err := c.volumes.Get(volume); err == nil {
		return nil // it waits for the controller that binds it
	}
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := c.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return c.fail(claim, "ProvisioningFailed", err)
	}
	if class.Provisioner != provisionerName {
		return nil
	}
	if class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer &&
		claim.Annotations[annotationSelectedNode] == "" {
		return nil
	}
	if c.claimQueue.NumRequeues(key) == 0 {
		c.events.Eventf(claim, corev1.EventTypeNormal, "Provisioning", "External provisioner is provisioning volume for claim %q", key)
	}
	pv, err := c.build(ctx, claim, class, volume)
	if err != nil {
		return c.fail(claim, "ProvisioningFailed", err)
	}
	if _, err := c.client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return c.fail(claim, "ProvisioningFailed", fmt.Errorf("create PersistentVolume %s: %w", volume, err))
	}
	c.events.Eventf(claim, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", volume)
	return nil
}

// build checks the claim, makes its folder and returns its volume.
func (c *controller) build(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, volume string) (*corev1.PersistentVolume, error) {
	if m := claim.Spec.VolumeMode; m != nil && *m != corev1.PersistentVolumeFilesystem {
		return nil, refuse("%s does not support block volume provisioning", provisionerName)
	}
	s, err := c.config.settings()
	if err != nil {
		return nil, err
	}
	scope, err := s.of(class.Name)
	if err != nil {
		return nil, err
	}
	if scope.shared == "" {
		if err := local(claim, class); err != nil {
			return nil, err
		}
	}
	base, err := scope.base(c.node, class.Parameters[parameterNodePath], volume)
	if err != nil {
		return nil, err
	}
	below, err := volumeFolder(class, claim, volume)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(base, below)
	source, err := volumeSource(claim, class, path, scope.shared != "")
	if err != nil {
		return nil, err
	}
	var affinity *corev1.VolumeNodeAffinity
	if scope.shared == "" {
		if affinity, err = c.affinity(ctx, class); err != nil {
			return nil, err
		}
	}
	if err := makeFolder(base, below); err != nil {
		return nil, err
	}
	c.log.Info("local storage: volume made", "volume", volume, "claim", claim.Namespace+"/"+claim.Name, "path", path)
	policy, mode := corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeFilesystem
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        volume,
			Annotations: map[string]string{annotationNode: c.node, annotationProvisionedBy: class.Provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        source,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
			NodeAffinity:                  affinity,
			ClaimRef: &corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
		},
	}, nil
}

// local refuses what a folder of one node cannot give.
func local(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	if claim.Spec.Selector != nil {
		return refuse("claim.Spec.Selector is not supported")
	}
	for _, m := range claim.Spec.AccessModes {
		if m != corev1.ReadWriteOnce && m != corev1.ReadWriteOncePod {
			return refuse("access mode %s: a folder of one node gives ReadWriteOnce and ReadWriteOncePod only; make the claim anew with one of them", m)
		}
	}
	if claim.Annotations[annotationSelectedNode] == "" {
		return refuse("no node was selected: StorageClass %s needs volumeBindingMode: WaitForFirstConsumer", class.Name)
	}
	return nil
}

// volumeSource returns what the user wants to see in the volume. On a shared file system it
// is hostPath always: the API refuses a local volume that is tied to no node.
func volumeSource(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, path string, shared bool) (corev1.PersistentVolumeSource, error) {
	kind, ok := claim.Annotations[annotationVolumeType]
	if !ok {
		if kind, ok = class.Annotations[annotationDefaultVolumeType]; !ok {
			kind = "hostPath"
		}
	}
	kind = strings.ToLower(kind)
	if kind == "local" && shared {
		kind = "hostpath"
	}
	switch kind {
	case "local":
		return corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}, nil
	case "hostpath":
		create := corev1.HostPathDirectoryOrCreate
		return corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &create}}, nil
	}
	return corev1.PersistentVolumeSource{}, refuse("annotation %s or %s is %q: want local or hostPath", annotationVolumeType, annotationDefaultVolumeType, kind)
}

// affinity ties a volume to this node.
func (c *controller) affinity(ctx context.Context, class *storagev1.StorageClass) (*corev1.VolumeNodeAffinity, error) {
	node, err := c.client.CoreV1().Nodes().Get(ctx, c.node, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get node %s: %w", c.node, err)
	}
	key := class.Parameters[parameterAffinityKey]
	if key == "" {
		key = corev1.LabelHostname
	}
	value, ok := node.Labels[key]
	if !ok {
		if key != corev1.LabelHostname {
			// Upstream takes the node's name, and no pod can ever use the volume.
			return nil, fmt.Errorf("node %s has no label %s, which StorageClass %s names as %s: label the node", c.node, key, class.Name, parameterAffinityKey)
		}
		value = c.node
	}
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}},
	}}}}, nil
}
