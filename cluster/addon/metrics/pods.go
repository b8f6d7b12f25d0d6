package metrics

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// runningPods knows name, namespace and labels of all running Pods. changed is called when
// a Pod starts, ends or changes. The informer is to be run by the caller.
func runningPods(client metadata.Interface, changed func()) (informers.GenericInformer, error) {
	pods := metadatainformer.NewFilteredMetadataInformer(client, corev1.SchemeGroupVersion.WithResource("pods"), metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(o *metav1.ListOptions) { o.FieldSelector = "status.phase=" + string(corev1.PodRunning) })
	if err := pods.Informer().SetTransform(strip); err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() },
		UpdateFunc: func(before, after any) {
			a, aok := before.(*metav1.PartialObjectMetadata)
			b, bok := after.(*metav1.PartialObjectMetadata)
			if !aok || !bok || a.ResourceVersion != b.ResourceVersion { // else it was only listed again
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return nil, fmt.Errorf("pods: %w", err)
	}
	return pods, nil
}

// strip takes from a Pod's metadata what no answer needs: it is kept for every Pod.
func strip(object any) (any, error) {
	if m, ok := object.(*metav1.PartialObjectMetadata); ok {
		m.ManagedFields, m.Annotations, m.OwnerReferences, m.Finalizers = nil, nil, nil, nil
	}
	return object, nil
}
