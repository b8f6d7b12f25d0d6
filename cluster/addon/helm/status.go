package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
	// maxMessage bounds a condition's text, in bytes; the API bounds an event's to 1024.
	maxMessage = 4096
	maxEvent   = 1000
)

// Types of conditions. Ready is ours, the others are k3s's.
const (
	typeReady      = "Ready"
	typeFailed     = "Failed"
	typeJobCreated = "JobCreated"
)

func noJob() condition {
	return condition{typeJobCreated, "False", "NoJob", "Charts are installed by the node itself, without a job"}
}

// deployed says that what is wanted runs. Only what is news is written. After a restart
// the chart's version is not at hand; the status has it from before.
func (c *controller) deployed(ctx context.Context, u *unstructured.Unstructured, chart *helmChart, info release.Info) error {
	text := fmt.Sprintf("Release %s revision %d", chart.Name, info.Revision)
	i := slices.IndexFunc(chart.Status.Conditions, func(c condition) bool { return c.Type == typeReady })
	if i >= 0 && info.Chart == "" && chart.Status.Conditions[i].Status == "True" &&
		(chart.Status.Conditions[i].Message == text || strings.HasPrefix(chart.Status.Conditions[i].Message, text+" ")) {
		return nil
	}
	if info.Chart != "" {
		text += " of chart " + info.Chart
	}
	if info.AppVersion != "" {
		text += " (app version " + info.AppVersion + ")"
	}
	text += " is deployed in namespace " + chart.target()
	wrote, err := c.setStatus(ctx, u, chart, []condition{
		{typeReady, "True", "Deployed", text},
		{Type: typeFailed, Status: "False"},
		noJob(),
	})
	if wrote {
		c.event(u, normal, "Deployed", text)
	}
	return err
}

// progress says that an action begins.
func (c *controller) progress(ctx context.Context, u *unstructured.Unstructured, chart *helmChart, state release.State) {
	what := source.Request{Chart: chart.Spec.Chart, Version: chart.Spec.Version, Repo: chart.Spec.Repo, Content: chart.Spec.ChartContent}.String()
	if from := chart.Annotations[annotationChartURL]; from != "" && chart.Spec.ChartContent != "" {
		what += " (from " + from + ")"
	}
	reason, text := "Installing", fmt.Sprintf("Installing %s into namespace %s", what, chart.target())
	if state.Revision > 0 {
		reason, text = "Upgrading", fmt.Sprintf("Upgrading release %s revision %d, which is %s, to %s", chart.Name, state.Revision, state.Status, what)
	}
	failed := condition{Type: typeFailed, Status: "False"}
	for _, old := range chart.Status.Conditions {
		if old.Type == typeFailed {
			failed = old // until it is known
		}
	}
	wrote, err := c.setStatus(ctx, u, chart, []condition{{typeReady, "False", reason, text}, failed, noJob()})
	if err != nil {
		c.log.Warn("helm chart: status not written", "chart", keyOf(chart).String(), "err", err)
	}
	if wrote {
		c.event(u, normal, reason, text)
	}
}

// failed says what went wrong, with an event if that is news, and returns the error.
func (c *controller) failed(ctx context.Context, u *unstructured.Unstructured, chart *helmChart, reason string, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	text := cut(cause.Error(), maxMessage)
	var before condition
	for _, old := range chart.Status.Conditions {
		if old.Type == typeFailed {
			before = old
		}
	}
	now := condition{typeFailed, "True", reason, text}
	if before != now {
		c.event(u, warning, reason, text)
	}
	_, err := c.setStatus(ctx, u, chart, []condition{{typeReady, "False", reason, text}, now, noJob()})
	return errors.Join(cause, err)
}

// setStatus writes conditions if they are not there yet. chart has them afterwards.
func (c *controller) setStatus(ctx context.Context, u *unstructured.Unstructured, chart *helmChart, conditions []condition) (wrote bool, err error) {
	if slices.Equal(chart.Status.Conditions, conditions) && chart.Status.JobName == "" {
		return false, nil
	}
	// A job's name is left from k3s.
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions, "jobName": nil}})
	if err != nil {
		return false, err
	}
	_, err = c.charts.Resource(chartsResource()).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) {
		return false, nil // deleted meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("status: %w", err)
	}
	chart.Status = chartStatus{Conditions: conditions}
	return true, nil
}

// event tells of a HelmChart. The reference is all that is needed of it.
func (c *controller) event(u *unstructured.Unstructured, kind, reason, text string) {
	c.events.Event(&corev1.ObjectReference{
		APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
		UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
	}, kind, reason, cut(text, maxEvent))
}

// cut shortens a text to at most n bytes, at a character's end.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
