package scenario

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/harness"
)

// TestTenUpgradesBackAndForth upgrades a node ten times between two versions, and the data stays.
func TestTenUpgradesBackAndForth(t *testing.T) {
	slow(t)
	files := []string{newBundle(t, lab, "0.2.0"), newBundle(t, lab, "0.2.1")}
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	same := keep(t, ctx, n)
	for i := range 10 {
		upgraded(t, ctx, n, files[i%2], []string{"0.2.0", "0.2.1"}[i%2])
		same(t)
	}
}

// TestUpgradesUnderPressure upgrades a node whose processors are busy; is asked for two upgrades at once and refuses the second; and
// with a full state partition says so before it writes anything.
func TestUpgradesUnderPressure(t *testing.T) {
	slow(t)
	file := newBundle(t, lab, "0.2.0")
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	same := keep(t, ctx, n)

	t.Run("two at once", func(t *testing.T) {
		limit, cancel := within(ctx, 5*time.Minute, "two upgrades at once")
		defer cancel()
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() { _, errs[i] = n.Keelson(limit, "upgrade", file, "--stage") })
		}
		wg.Wait()
		failed := 0
		for _, err := range errs {
			if err != nil {
				failed++
				t.Log(err)
			}
		}
		if failed != 1 {
			t.Errorf("%d of two upgrades at once were refused, want one: %v", failed, errs)
		}
	})
	t.Run("full state partition", func(t *testing.T) {
		const junk = "/proc/1/root/var/lib/rancher/junk"
		inProbe(t, ctx, n, "dd if=/dev/zero of="+junk+" bs=1M 2>/dev/null; true")
		before := mustStatus(t, ctx, n)
		limit, cancel := within(ctx, 3*time.Minute, "the refusal")
		defer cancel()
		_, err := n.Keelson(limit, "upgrade", file, "--no-reboot")
		if err == nil || !strings.Contains(err.Error(), "state partition") {
			t.Errorf("an upgrade with a full state partition: %v, want a refusal that names it", err)
		}
		after, err := status(ctx, n)
		if err != nil || after.Boot != before.Boot {
			t.Errorf("boot state %+v, %v, want %+v", after.Boot, err, before.Boot)
		}
		inProbe(t, ctx, n, "rm "+junk)
	})
	t.Run("under load", func(t *testing.T) {
		inProbe(t, ctx, n, "for i in 1 2 3 4; do (while :; do :; done) & done >/dev/null 2>&1; true")
		upgraded(t, ctx, n, file, "0.2.0")
		same(t)
	})
}

// TestUpgradeObject upgrades a single node that reaches nothing by an object in its own cluster, from a bundle on its own disk. The
// node is not drained, since its pods could go nowhere, and is not left cordoned.
func TestUpgradeObject(t *testing.T) {
	slow(t)
	file := newBundle(t, lab, "0.2.0")
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	same := keep(t, ctx, n)
	carry(t, ctx, n, file, "/var/lib/rancher/bundles/new.keelson")
	object := `{apiVersion: keelson.dev/v1alpha1, kind: Upgrade, metadata: {name: to-020}, spec: {bundle: {url: "file:///var/lib/rancher/bundles/new.keelson"}}}`
	if _, err := n.KubectlInput(ctx, object, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	var last string
	eventually(t, ctx, 2*bootLimit, "the Upgrade's end", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "get", "upgrades", "to-020", "-o", "jsonpath={.status.phase}")
		if err != nil {
			return err
		}
		if last = out; out != "Done" && out != "Succeeded" && out != "Completed" {
			return fmt.Errorf("phase %q", out)
		}
		return nil
	})
	t.Logf("phase %s\n%s\n%s", last, kubectl(t, ctx, n, "get", "upgrades"), kubectl(t, ctx, n, "get", "events", "-A", "--field-selector", "involvedObject.kind=Upgrade"))
	if got := kubectl(t, ctx, n, "get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		t.Errorf("the node is cordoned: %q", got)
	}
	s, err := status(ctx, n)
	if err != nil || s.Version.Version != "0.2.0" || s.Upgrade == nil || s.Upgrade.State != machine.AttemptGood {
		t.Errorf("status %+v, %v, want version 0.2.0, good", s, err)
	}
	same(t)
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
	// The end of a stream may look like its success.
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(info.Size()) {
		t.Fatalf("%s bytes arrived, want %d", got, info.Size())
	}
}
