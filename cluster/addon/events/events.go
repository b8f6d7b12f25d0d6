// Package events makes the recorders through which the packaged components tell users, as
// Kubernetes Events, what became of their objects.
package events

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Recorder returns a recorder whose Events are written to sink and come from component on
// host; a component that is the cluster's and not a node's has no host. Call stop when
// nothing is recorded any more.
func Recorder(ctx context.Context, sink typedcorev1.EventInterface, component, host string) (recorder record.EventRecorder, stop func()) {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: sink})
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: host}), b.Shutdown
}
