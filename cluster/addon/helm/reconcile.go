package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	"github.com/keelson-os/keelson/cluster/addon/helm/values"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// reconcile does for one HelmChart what is left to do. again asks for another round at
// once; an error asks for one later, and is in the status by then.
func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (again bool, err error) {
	u, err := c.charts.Resource(chartsResource()).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.follow(key, nil)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	deleting := u.GetDeletionTimestamp() != nil
	if !managed(u) {
		if _, ok := u.GetAnnotations()[annotationUnmanaged]; ok && deleting {
			return false, c.release(ctx, u) // with the release as it is
		}
		return false, nil
	}
	chart := &helmChart{}
	err = decode(u, chart)
	switch {
	case deleting && err != nil:
		return false, c.remove(ctx, u, essence(u))
	case deleting:
		return false, c.remove(ctx, u, chart)
	case err != nil:
		return false, c.failed(ctx, u, essence(u), "Invalid", fmt.Errorf("HelmChart: %w", err))
	}
	if changed, err := c.claim(ctx, u); err != nil || changed {
		return changed, err // another round reads what the API made of it
	}
	return false, c.apply(ctx, u, chart)
}

// essence is what a deletion needs of a HelmChart whose spec cannot be read.
func essence(u *unstructured.Unstructured) *helmChart {
	chart := &helmChart{}
	chart.Name, chart.Namespace = u.GetName(), u.GetNamespace()
	chart.Spec.TargetNamespace, _, _ = unstructured.NestedString(u.Object, "spec", "targetNamespace")
	chart.Spec.Driver, _, _ = unstructured.NestedString(u.Object, "spec", "driver")
	return chart
}

// managed says whether the HelmChart is ours to act on.
func managed(u *unstructured.Unstructured) bool {
	annotations := u.GetAnnotations()
	if _, ok := annotations[annotationUnmanaged]; ok {
		return false
	}
	by, ok := annotations[annotationManagedBy]
	return !ok || by == managedBy
}

// claim marks the HelmChart as ours, with a finalizer, as k3s does.
func (c *controller) claim(ctx context.Context, u *unstructured.Unstructured) (changed bool, err error) {
	finalizers := u.GetFinalizers()
	if u.GetAnnotations()[annotationManagedBy] == managedBy && slices.Contains(finalizers, finalizer) {
		return false, nil
	}
	if !slices.Contains(finalizers, finalizer) {
		finalizers = append(finalizers, finalizer)
	}
	return true, c.patchMetadata(ctx, u, map[string]any{
		"annotations": map[string]any{annotationManagedBy: managedBy}, "finalizers": finalizers,
	})
}

// patchMetadata changes metadata if nobody else did in between.
func (c *controller) patchMetadata(ctx context.Context, u *unstructured.Unstructured, metadata map[string]any) error {
	metadata["resourceVersion"] = u.GetResourceVersion()
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = c.charts.Resource(chartsResource()).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// remove uninstalls the release of a HelmChart that is being deleted and lets it go. The
// chart is not needed for that, so it works when its repository is away.
func (c *controller) remove(ctx context.Context, u *unstructured.Unstructured, chart *helmChart) error {
	if !slices.Contains(u.GetFinalizers(), finalizer) {
		return nil
	}
	if supported(chart) {
		timeout, err := chart.timeout()
		if err != nil {
			timeout = release.DefaultTimeout
		}
		doing, done := c.begin(ctx, keyOf(chart), true, nil)
		err = c.releases.Uninstall(doing, release.Target{
			Name: chart.Name, Namespace: chart.target(), Driver: chart.Spec.Driver, Timeout: timeout,
		})
		done()
		debug.FreeOSMemory()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return c.failed(ctx, u, chart, "UninstallFailed", fmt.Errorf("uninstall of release %s in namespace %s: %w", chart.Name, chart.target(), err))
		}
		c.event(u, normal, "Uninstalled", fmt.Sprintf("Uninstalled release %s from namespace %s", chart.Name, chart.target()))
		c.log.Info("helm chart uninstalled", "chart", keyOf(chart).String())
	}
	c.follow(keyOf(chart), nil)
	return c.release(ctx, u)
}

// release lets go of a HelmChart: the API may delete it.
func (c *controller) release(ctx context.Context, u *unstructured.Unstructured) error {
	finalizers := slices.DeleteFunc(u.GetFinalizers(), func(f string) bool { return f == finalizer })
	if len(finalizers) == len(u.GetFinalizers()) {
		return nil
	}
	return c.patchMetadata(ctx, u, map[string]any{"finalizers": finalizers})
}

// supported is false for charts of Helm 2, which nothing here can read.
func supported(chart *helmChart) bool {
	return chart.Spec.HelmVersion == "" || chart.Spec.HelmVersion == "v3"
}

// apply installs or upgrades, unless what is deployed is what is wanted.
func (c *controller) apply(ctx context.Context, u *unstructured.Unstructured, chart *helmChart) error {
	if !supported(chart) {
		// Nothing but a change of the HelmChart helps: no retry.
		_ = c.failed(ctx, u, chart, "UnsupportedVersion", fmt.Errorf("spec.helmVersion is %q, expected v3 or nothing", chart.Spec.HelmVersion))
		return nil
	}
	config, err := c.config(ctx, chart)
	if err != nil {
		return c.failed(ctx, u, chart, "Invalid", err)
	}
	digest, err := c.source.Digest(source.Request{Chart: chart.Spec.Chart, Content: chart.Spec.ChartContent})
	if err != nil {
		return c.failed(ctx, u, chart, "FetchFailed", err)
	}
	in, err := c.collect(ctx, chart, config, digest)
	c.follow(keyOf(chart), in.secrets)
	if err != nil {
		return c.failed(ctx, u, chart, "Invalid", err)
	}
	state, err := c.releases.State(ctx, in.target.Namespace, chart.Name, chart.Spec.Driver)
	if err != nil {
		return c.failed(ctx, u, chart, "StateUnknown", err)
	}
	if state.Status == "deployed" && state.Hash == in.target.Hash {
		return c.deployed(ctx, u, chart, release.Info{Revision: state.Revision})
	}

	if c.queue.NumRequeues(keyOf(chart)) == 0 {
		c.progress(ctx, u, chart, state)
	}
	reason := "ApplyFailed"
	doing, done := c.begin(ctx, keyOf(chart), false, in.seen)
	info, err := c.releases.Apply(doing, in.target, func(ctx context.Context) (*chartv2.Chart, map[string]any, error) {
		merged, err := values.Merge(in.files, chart.Spec.Set)
		if err != nil {
			reason = "Invalid"
			return nil, nil, err
		}
		request, err := c.request(ctx, chart)
		if err != nil {
			reason = "Invalid"
			return nil, nil, err
		}
		made, err := c.source.Fetch(ctx, request)
		if err != nil {
			reason = "FetchFailed"
		}
		return made, merged, err
	})
	changed := errors.Is(context.Cause(doing), errChanged)
	done()
	// A chart takes tens of megabytes for a moment; the runtime would keep them for minutes.
	debug.FreeOSMemory()
	switch {
	case ctx.Err() != nil:
		return nil // the process ends
	case err != nil && changed:
		c.log.Info("helm chart: action ended by a change", "chart", keyOf(chart).String())
		return nil // the change is in the queue
	case errors.Is(err, release.ErrAborted):
		reason = "Aborted"
	}
	if err != nil {
		return c.failed(ctx, u, chart, reason, err)
	}
	c.log.Info("helm chart applied", "chart", keyOf(chart).String(), "version", info.Chart, "revision", info.Revision)
	return c.deployed(ctx, u, chart, info)
}

// config returns the HelmChartConfig of a HelmChart, nil if there is none.
func (c *controller) config(ctx context.Context, chart *helmChart) (*helmChartConfig, error) {
	u, err := c.charts.Resource(configsResource()).Namespace(chart.Namespace).Get(ctx, chart.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("HelmChartConfig: %w", err)
	}
	config := &helmChartConfig{}
	if err := decode(u, config); err != nil {
		return nil, fmt.Errorf("HelmChartConfig: %w", err)
	}
	return config, nil
}
