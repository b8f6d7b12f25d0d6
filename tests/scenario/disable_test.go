package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// disable writes the names into the node's configuration, as a new keelson.yaml on the FAT
// partition would, and starts the node process anew.
func disable(t *testing.T, ctx context.Context, n *harness.Node, names ...string) {
	t.Helper()
	inProbe(t, ctx, n, `set -e
		file=/proc/1/root/var/lib/rancher/keelson/config/keelson.yaml
		sed -i 's/^  \(# \)\?disable: .*/  disable: [`+strings.Join(names, ", ")+`]/' $file
		grep '^  disable:' $file`)
	old := nodeProcess(t, ctx, n)
	limit, cancel := within(ctx, 30*time.Second, "exec of kill")
	_, _ = n.Kubectl(limit, "exec", "probe", "--", "kill", old) // the connection dies with the process
	cancel()
	eventually(t, ctx, 3*time.Minute, "another node process", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "exec", "probe", "--", "sh", "-c", findNode)
		if err == nil && (strings.TrimSpace(out) == "" || strings.TrimSpace(out) == old) {
			err = fmt.Errorf("node processes %q, want one other than %s", out, old)
		}
		return err
	})
}

// TestEachComponentCanBeDisabledAlone disables one component after the other on a node that
// has them all. Each time what that one made is gone, and what all others made is there, the
// previous one's again.
func TestEachComponentCanBeDisabledAlone(t *testing.T) {
	slow(t)
	ctx, n := storyOf(t, fullLab(t), nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	kubectl(t, ctx, n, "create", "service", "loadbalancer", "balanced", "--tcp=8081")
	// What is there, by kubectl's words for it, while a component runs.
	signs := map[string][]string{
		"coredns":        {"-n", "kube-system", "service/kube-dns", "-o", "name"},
		"metrics-server": {"apiservice/v1beta1.metrics.k8s.io", "-o", "name"},
		"local-storage":  {"storageclass/local-path", "-o", "name"},
		"servicelb":      {"service/balanced", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"},
		"traefik":        {"-n", "kube-system", "deployment/traefik", "-o", "name"},
		"upgrade":        {"crd/upgrades.keelson.dev", "-o", "name"},
	}
	only := func(t *testing.T, disabled string) {
		t.Helper()
		eventually(t, ctx, 4*time.Minute, "what is disabled to be gone, and all else to be there", func(ctx context.Context) error {
			var errs []error
			for name, args := range signs {
				out, err := n.Kubectl(ctx, append([]string{"get", "--ignore-not-found"}, args...)...)
				if err == nil && (out == "") != (name == disabled) {
					err = fmt.Errorf("%s: %q while %q is disabled", name, out, disabled)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		})
	}
	only(t, "") // all of them, Traefik's chart too, before the first is disabled
	// Traefik last: without the helm controller it could not come back.
	rounds := []string{"coredns", "metrics-server", "local-storage", "servicelb", "upgrade", "helm-controller", "traefik"}
	for _, disabled := range rounds {
		t.Run(disabled, func(t *testing.T) {
			disable(t, ctx, n, disabled)
			only(t, disabled)
			// A chart that nobody could install gets a condition from whoever looks at it.
			chart := "probe-" + disabled
			if _, err := n.KubectlInput(ctx, fmt.Sprintf("apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: %s, namespace: default}\nspec: {chartContent: bm8gY2hhcnQ=, failurePolicy: abort}\n", chart), "apply", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			conditions := func(ctx context.Context) (string, error) {
				return n.Kubectl(ctx, "get", "helmchart", chart, "-o", "jsonpath={.status.conditions[*].type}")
			}
			if disabled == "helm-controller" {
				time.Sleep(20 * time.Second) // nothing will tell that nothing happens
				if out, err := conditions(ctx); err != nil || out != "" {
					t.Errorf("conditions of a HelmChart = %q, %v, want none", out, err)
				}
				return
			}
			eventually(t, ctx, 2*time.Minute, "the helm controller to look at "+chart, func(ctx context.Context) error {
				out, err := conditions(ctx)
				if err == nil && out == "" {
					err = errors.New("no condition yet")
				}
				return err
			})
		})
	}
}
