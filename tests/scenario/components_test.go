package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// TestPackagedComponents boots a node with everything that k3s packages, as a user gets it,
// on a machine that reaches nothing, and takes one component after the other: the node is
// Ready and each of them works although nothing could be pulled, and no pod runs but the
// user's own and Traefik's. Then the node reboots, and what was stored is still there.
//
// It is one machine for all of them because a boot takes a minute and its image half of
// that; each component keeps to a namespace of its own.
func TestPackagedComponents(t *testing.T) {
	full := fullLab(t)
	ctx, n := storyOf(t, full, func(c *qemu.Config) {
		for _, port := range []int{80, 443, lbPort} {
			c.Forwards = append(c.Forwards, qemu.Forward{Guest: port})
		}
	})
	up(t, ctx, n)
	appRuns(t, ctx, n)
	t.Run("no pod but the user's and Traefik's", func(t *testing.T) { onlyOwnPods(t, ctx, n) })
	for _, s := range []struct {
		name  string
		story func(*testing.T, context.Context, *harness.Node)
	}{
		{"dns", dnsStory},
		{"metrics", metricsStory},
		{"storage", storageStory},
		{"servicelb", servicelbStory},
		{"addons", addonStory},
		{"helm", helmStory},
		{"traefik", traefikStory},
	} {
		t.Run(s.name, func(t *testing.T) { s.story(t, ctx, n) })
	}
	t.Run("after a reboot", func(t *testing.T) {
		limit, cancel := within(ctx, 90*time.Second, "the shutdown")
		defer cancel()
		if err := n.Powerdown(limit); err != nil {
			t.Fatal(err)
		}
		up(t, ctx, n)
		appRuns(t, ctx, n)
		storageAfterReboot(t, ctx, n)
	})
	t.Run("disabled later", func(t *testing.T) { disabledLater(t, ctx, n) })
}

// disabledLater disables all components, and looks for what they have left behind.
func disabledLater(t *testing.T, ctx context.Context, n *harness.Node) {
	disable(t, ctx, n, "coredns", "metrics-server", "local-storage", "servicelb", "traefik", "upgrade")
	for _, gone := range [][]string{
		{"-n", "kube-system", "service/kube-dns", "configmap/coredns", "configmap/local-path-config", "service/metrics-server"},
		{"-n", "kube-system", "addon/coredns", "addon/local-storage", "addon/traefik", "helmchart/traefik"},
		{"-n", "kube-system", "deployment/traefik", "service/traefik"},
		{"apiservice/v1beta1.metrics.k8s.io", "storageclass/local-path", "ingressclass/traefik"},
		{"crd/upgrades.keelson.dev", "-n", "kube-system", "addon/upgrade"},
	} {
		eventually(t, ctx, 5*time.Minute, strings.Join(gone, " ")+" to be gone", func(ctx context.Context) error {
			out, err := n.Kubectl(ctx, append([]string{"get", "--ignore-not-found", "-o", "name"}, gone...)...)
			if err == nil && strings.TrimSpace(out) != "" {
				err = fmt.Errorf("still there: %s", strings.Join(strings.Fields(out), " "))
			}
			return err
		})
	}
	slices := kubectl(t, ctx, n, "-n", "kube-system", "get", "endpointslices", "-l", "kubernetes.io/service-name=kube-dns", "-o", "name")
	if slices != "" {
		t.Errorf("endpoints of cluster DNS are left: %s", slices)
	}
	if addresses := strings.TrimSpace(kubectl(t, ctx, n, "get", "services", "-A", "-o", "jsonpath={.items[*].status.loadBalancer.ingress[*].ip}")); addresses != "" {
		t.Errorf("Services still have the addresses %s", addresses)
	}
	appRuns(t, ctx, n)
}

// fullLab is a cluster of its own whose image has Traefik too.
func fullLab(t *testing.T) *harness.Lab {
	t.Helper()
	return ownLab(t, "full-", nil)
}

// onlyOwnPods fails when a pod runs that neither the user nor Traefik's chart made, or when the
// node has an image that did not come with the disk.
func onlyOwnPods(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name, Namespace string }
			Spec     struct{ Containers []struct{ Image string } }
		}
	}
	if err := json.Unmarshal([]byte(kubectl(t, ctx, n, "get", "pods", "-A", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Metadata.Namespace == "default" || p.Metadata.Namespace == "kube-system" && strings.HasPrefix(p.Metadata.Name, "traefik-") {
			continue
		}
		t.Errorf("pod %s/%s runs, and nobody asked for it", p.Metadata.Namespace, p.Metadata.Name)
	}
	pulled := kubectl(t, ctx, n, "get", "events", "-A", "-o", `jsonpath={range .items[?(@.reason=="Pulled")]}{.message}{"\n"}{end}`)
	for line := range strings.Lines(pulled) {
		if !strings.Contains(line, "already present on machine") {
			t.Errorf("an image was pulled: %s", strings.TrimSpace(line))
		}
	}
}
