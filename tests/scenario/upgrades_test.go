package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// TestTenUpgradesInARow upgrades machines ten times between two versions, by UEFI and by U-Boot, and the data stays. Before
// that it asks for two upgrades at once, of which the second is refused, and for one with a full state partition, which is told before anything
// is written, and for one from a web server that dies. The node's program is a stand-in.
func TestTenUpgradesInARow(t *testing.T) {
	slow(t)
	var lanes sync.WaitGroup
	defer lanes.Wait()
	for _, c := range bootChains[:2] {
		lanes.Go(func() { t.Run(c.name, func(t *testing.T) { tenUpgrades(t, c) }) })
	}
}

func tenUpgrades(t *testing.T, c bootChain) {
	l := standinLab(t, c)
	versions := []string{"0.2.0", "0.2.1"}
	var files []string
	for _, v := range versions {
		files = append(files, newBundle(t, l, v, "--programs", standinPrograms(l.Dir)))
	}
	ctx, n := storyOf(t, l, func(cfg *qemu.Config) {
		c.machine(cfg)
		cfg.Isolated = false // for a web server of the test's
	})
	booted(t, ctx, n)
	starts := 1 // of the node's program

	t.Run("two at once", func(t *testing.T) {
		before := mustStatus(t, ctx, n)
		limit, cancel := within(ctx, 5*time.Minute, "two upgrades at once")
		defer cancel()
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() { _, errs[i] = n.Keelson(limit, "upgrade", files[0], "--stage") })
		}
		wg.Wait()
		failed := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
		if len(failed) != 1 || !strings.Contains(failed[0].Error(), "another upgrade") {
			t.Errorf("two upgrades at once: %v, want that one is refused for the other", errs)
		}
		t.Log(failed)
		if s := mustStatus(t, ctx, n); s.Boot != before.Boot {
			t.Errorf("boot state %+v, want %+v", s.Boot, before.Boot)
		}
	})

	t.Run("full state partition", func(t *testing.T) {
		fill := filepath.Join(l.Dir, "full.yaml")
		text := verb(t, ctx, n, "config", "get")
		if err := os.WriteFile(fill, []byte(withLabel(t, text, "standin=full")), 0o600); err != nil {
			t.Fatal(err)
		}
		verb(t, ctx, n, "config", "apply", fill, "--wait")
		starts++
		before := mustStatus(t, ctx, n)
		limit, cancel := within(ctx, 3*time.Minute, "the refusal")
		defer cancel()
		_, err := n.Keelson(limit, "upgrade", files[0], "--no-reboot")
		if err == nil || !strings.Contains(err.Error(), "state partition") {
			t.Errorf("an upgrade with a full state partition: %v, want a refusal that names it", err)
		}
		t.Log(err)
		if s := mustStatus(t, ctx, n); s.Boot != before.Boot {
			t.Errorf("boot state %+v, want %+v", s.Boot, before.Boot)
		}
		verb(t, ctx, n, "restart", "node")
		starts++
		wantStarts(t, ctx, n, slices.Repeat([]string{"well"}, starts))
		if err := os.WriteFile(fill, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		verb(t, ctx, n, "config", "apply", fill, "--wait")
		starts++
	})

	t.Run("server that dies", func(t *testing.T) { dyingServer(t, ctx, n, "--programs", standinPrograms(l.Dir)) })

	t.Run("ten", func(t *testing.T) {
		for i := range 10 {
			upgraded(t, ctx, n, files[i%2], versions[i%2])
			starts++
			wantStarts(t, ctx, n, slices.Repeat([]string{"well"}, starts))
		}
	})
}

// busyPod keeps every processor and the disk busy.
const busyPod = `
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: busy
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, 'for i in 1 2 3 4; do sh -c "while :; do :; done" & done; while :; do dd if=/dev/zero of=/tmp/busy bs=1M count=16 conv=fsync; done']
`

// upgradeUnderLoad upgrades a node whose processors and disk are busy, and are so again during the trial.
func upgradeUnderLoad(t *testing.T, ctx context.Context, n *harness.Node, file, version string) {
	if _, err := n.KubectlInput(ctx, busyPod, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	kubectl(t, ctx, n, "wait", "pod/busy", "--for=condition=Ready", "--timeout=2m")
	upgraded(t, ctx, n, file, version)
	if got := kubectl(t, ctx, n, "get", "pod", "busy", "-o", "jsonpath={.status.phase}"); got != "Running" {
		t.Errorf("the busy pod is %s after the upgrade, want Running", got)
	}
	kubectl(t, ctx, n, "delete", "pod", "busy")
}

// upgradeByObject upgrades a single node that reaches nothing by an object in its own cluster, from a bundle on its own disk. The
// node is not drained, since its pods could go nowhere, and is not left cordoned.
func upgradeByObject(t *testing.T, ctx context.Context, n *harness.Node, file, version string) {
	carry(t, ctx, n, file, "/var/lib/rancher/bundles/new.keelson")
	object := `{apiVersion: keelson.dev/v1alpha1, kind: Upgrade, metadata: {name: next}, spec: {bundle: {url: "file:///var/lib/rancher/bundles/new.keelson"}}}`
	began := time.Now()
	if _, err := n.KubectlInput(ctx, object, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, 2*bootLimit, "the Upgrade's end", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "get", "upgrades", "next", "-o", "jsonpath={.status.phase}")
		if err != nil {
			return err
		}
		if out != "Done" {
			return fmt.Errorf("phase %q", out)
		}
		return nil
	})
	t.Logf("done after %.1f s\n%s\n%s", time.Since(began).Seconds(), kubectl(t, ctx, n, "get", "upgrades"),
		kubectl(t, ctx, n, "get", "events", "-A", "--field-selector", "involvedObject.kind=Upgrade"))
	if got := kubectl(t, ctx, n, "get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		t.Errorf("the node is cordoned: %q", got)
	}
	s := mustStatus(t, ctx, n)
	if s.Version.Version != version || s.Upgrade == nil || s.Upgrade.State != machine.AttemptGood {
		t.Errorf("status %+v, want version %s, good", s, version)
	}
}

// carry copies a file onto the node's state partition, through the probe.
func carry(t *testing.T, ctx context.Context, n *harness.Node, file, to string) {
	t.Helper()
	limit, cancel := within(ctx, 10*time.Minute, "copying a bundle into the node")
	defer cancel()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// containerd ends the input of a command at the end of its output, and "cat" alone closes its own:
	// https://github.com/containerd/containerd/issues/13934.
	cmd := n.Command(limit, "exec", "-i", "probe", "--", "sh", "-c", `mkdir -p "$(dirname "$0")" && cat > "$0"; wc -c < "$0"`, "/proc/1/root"+to)
	cmd.Stdin = f
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// An input that is cut off looks like success.
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(info.Size()) {
		t.Fatalf("%s bytes arrived, want %d", got, info.Size())
	}
}
