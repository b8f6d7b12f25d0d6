package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
)

// errUnknownKind is returned for a kind that the API server does not serve, or not yet.
var errUnknownKind = errors.New("the API server has no such kind (yet): install its CustomResourceDefinition")

// errTerminating is returned for an object that is being deleted: it has to be made anew.
var errTerminating = errors.New("an earlier one is still being deleted")

// objects is the cluster as manifests change it.
type objects interface {
	// Namespaced reports whether objects of the kind are in namespaces, or errUnknownKind.
	Namespaced(ctx context.Context, kind schema.GroupVersionKind) (bool, error)
	// Apply makes the object what o says, in o's namespace.
	Apply(ctx context.Context, o *unstructured.Unstructured) error
	// Delete deletes the object if it is the Addon's, see ours, and says whether it did.
	// What is not there, or of no known kind, is no error.
	Delete(ctx context.Context, r ref, addon string) (bool, error)
}

var _ objects = (*cluster)(nil)

// cluster speaks to the API server. It is for one goroutine.
type cluster struct {
	client   dynamic.Interface
	metadata metadata.Interface // ownership needs no more of an object
	// discovery is asked per group and version: a mapper of all kinds costs megabytes.
	discovery discovery.ServerResourcesInterfaceWithContext
	known     map[schema.GroupVersionKind]resource
}

func newCluster(client dynamic.Interface, meta metadata.Interface, disco discovery.DiscoveryInterface) *cluster {
	return &cluster{client, meta, discovery.ToDiscoveryInterfaceWithContext(disco), map[schema.GroupVersionKind]resource{}}
}

type resource struct {
	schema.GroupVersionResource
	namespaced bool
}

func (c *cluster) resource(ctx context.Context, kind schema.GroupVersionKind) (resource, error) {
	if r, ok := c.known[kind]; ok {
		return r, nil
	}
	version := kind.GroupVersion()
	list, err := c.discovery.ServerResourcesForGroupVersionWithContext(ctx, version.String())
	if apierrors.IsNotFound(err) {
		return resource{}, errUnknownKind
	}
	if err != nil {
		return resource{}, fmt.Errorf("ask for the kinds of %s: %w", version, err)
	}
	for _, r := range list.APIResources {
		if r.Kind != kind.Kind || r.Group != "" && r.Group != kind.Group {
			continue
		}
		// A subresource has a slash in its name, and may have its parent's kind.
		if found := (resource{version.WithResource(r.Name), r.Namespaced}); !strings.Contains(r.Name, "/") {
			c.known[kind] = found
			return found, nil
		}
	}
	return resource{}, errUnknownKind
}

func (c *cluster) Namespaced(ctx context.Context, kind schema.GroupVersionKind) (bool, error) {
	r, err := c.resource(ctx, kind)
	return r.namespaced, err
}

func (c *cluster) Apply(ctx context.Context, o *unstructured.Unstructured) error {
	r, err := c.resource(ctx, o.GroupVersionKind())
	if err != nil {
		return err
	}
	live, err := c.client.Resource(r.GroupVersionResource).Namespace(o.GetNamespace()).
		Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if apierrors.IsNotFound(err) {
		delete(c.known, o.GroupVersionKind()) // its definition may be gone
	}
	if err == nil && live.GetDeletionTimestamp() != nil {
		err = errTerminating
	}
	return err
}

func (c *cluster) Delete(ctx context.Context, r ref, addon string) (bool, error) {
	to, err := c.resource(ctx, r.kind)
	if errors.Is(err, errUnknownKind) {
		return false, nil // its objects went with it
	}
	if err != nil {
		return false, err
	}
	if !to.namespaced {
		r.namespace = ""
	}
	client := c.metadata.Resource(to.GroupVersionResource).Namespace(r.namespace)
	live, err := client.Get(ctx, r.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil || !ours(live, addon) || live.DeletionTimestamp != nil {
		return false, err
	}
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, r.name, metav1.DeleteOptions{
		PropagationPolicy: &background,
		// What somebody has taken over since we looked is left alone.
		Preconditions: &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
