package scenario

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// burner is a Deployment that burns the CPU it is given, five times what it asks for, and an
// autoscaler that wants it to use half.
const burner = `
apiVersion: v1
kind: Namespace
metadata: {name: metrics-story}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: burner, namespace: metrics-story}
spec:
  selector: {matchLabels: {app: burner}}
  template:
    metadata: {labels: {app: burner}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: burner
        image: keelson.dev/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "trap 'exit 0' TERM; while :; do :; done"]
        resources:
          requests: {cpu: 20m, memory: 8Mi}
          limits: {cpu: 100m, memory: 16Mi}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: burner, namespace: metrics-story}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: burner}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
`

// metricsStory is what a user of k3s's metrics-server does: "kubectl top" of nodes and pods,
// and an autoscaler that scales a Deployment that is too busy.
func metricsStory(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	// First, because the autoscaler needs more time than the rest.
	if _, err := n.KubectlInput(ctx, burner, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	t.Run("the APIService is available", func(t *testing.T) {
		kubectl(t, ctx, n, "wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=60s")
		// No pod serves it.
		if got := kubectl(t, ctx, n, "get", "pods", "--namespace=kube-system", "--selector=k8s-app=metrics-server", "--output=name"); got != "" {
			t.Errorf("pods of the metrics server = %q, want none", got)
		}
	})
	t.Run("top nodes", func(t *testing.T) {
		eventually(t, ctx, 2*time.Minute, "the node's metrics", func(ctx context.Context) error {
			out, err := n.Kubectl(ctx, "top", "nodes", "--no-headers")
			if err != nil {
				return err
			}
			// NAME CPU CPU% MEMORY MEMORY%
			f := strings.Fields(out)
			if len(f) != 5 {
				return fmt.Errorf("top nodes printed %q, want one node", out)
			}
			return usage(f[1], f[3], 64)
		})
	})
	t.Run("top pods", func(t *testing.T) {
		eventually(t, ctx, 2*time.Minute, "the pod's metrics", func(ctx context.Context) error {
			out, err := n.Kubectl(ctx, "top", "pods", "--namespace=metrics-story", "--selector=app=burner", "--no-headers")
			if err != nil {
				return err
			}
			line, _, _ := strings.Cut(out, "\n")
			f := strings.Fields(line) // NAME CPU MEMORY
			if len(f) != 3 {
				return fmt.Errorf("top pods printed %q, want a pod", out)
			}
			return usage(f[1], f[2], 0)
		})
	})
	t.Run("the autoscaler scales", func(t *testing.T) {
		eventually(t, ctx, 4*time.Minute, "a second replica", func(ctx context.Context) error {
			got, err := n.Kubectl(ctx, "get", "deployment", "burner", "--namespace=metrics-story", "--output=jsonpath={.status.readyReplicas}")
			if err == nil && got != "2" {
				why, _ := n.Kubectl(ctx, "get", "hpa", "burner", "--namespace=metrics-story", "--output=jsonpath={.status}")
				err = fmt.Errorf("%q replicas are ready, want 2; the autoscaler's status: %s", got, why)
			}
			return err
		})
	})
	// It has burnt enough: others want to run on this machine too.
	kubectl(t, ctx, n, "delete", "namespace", "metrics-story", "--wait=false")
}

// usage is nil if cpu ("120m") is more than nothing and memory ("300Mi") is at least minimum MiB.
func usage(cpu, memory string, minimum int) error {
	millis, err := strconv.Atoi(strings.TrimSuffix(cpu, "m"))
	if err != nil || millis <= 0 {
		return fmt.Errorf("CPU = %q, want some millicores", cpu)
	}
	mebibytes, err := strconv.Atoi(strings.TrimSuffix(memory, "Mi"))
	if err != nil || mebibytes < minimum {
		return fmt.Errorf("memory = %q, want at least %dMi", memory, minimum)
	}
	return nil
}
