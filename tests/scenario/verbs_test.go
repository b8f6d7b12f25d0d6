package scenario

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/harness"
)

// TestVerbsThatChangeANode tries what the machine API can do to a node, with a stand-in for the node's program: two nodes at once, a
// reboot, configurations that are refused, taken and undone, upgrades that are staged, called off and rolled back by hand, and a reset of the whole disk.
func TestVerbsThatChangeANode(t *testing.T) {
	slow(t)
	c := bootChains[0]
	l := standinLab(t, c)
	good := newBundle(t, l, "0.2.0", "--programs", standinPrograms(l.Dir))
	ctx, n := storyOf(t, l, c.machine)
	booted(t, ctx, n)

	t.Run("two nodes at once, and a reset of all of one", func(t *testing.T) {
		_, other := storyOf(t, l, c.machine)
		booted(t, ctx, other)
		both := fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", n.Port(harness.MachineAPI), other.Port(harness.MachineAPI))
		if out := verb(t, ctx, n, "status", "-n", both); strings.Count(out, "0.1.0") < 2 {
			t.Errorf("the status of two nodes has not both:\n%s", out)
		}
		t.Logf("%s", verb(t, ctx, other, "reset", "--all", "--yes-really", "lab"))
		limit, cancel := within(ctx, bootLimit, "the end of the node that is wiped")
		defer cancel()
		if err := other.Wait(limit); err != nil {
			t.Fatal(err)
		}
		head := filepath.Join(l.Dir, "head.raw")
		if _, err := harness.Check("qemu-img", "dd", "-U", "-f", "qcow2", "-O", "raw", "bs=1M", "count=64", "if="+filepath.Join(other.Dir(), "disk.qcow2"), "of="+head); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(head)
		if err != nil || len(data) == 0 || len(bytes.Trim(data, "\x00")) > 0 {
			t.Errorf("the first %d bytes of the wiped disk are not all zero, %v", len(data), err)
		}
	})

	t.Run("reboot", func(t *testing.T) {
		verb(t, ctx, n, "reboot", "--wait")
		wantStarts(t, ctx, n, []string{"well", "well"})
	})

	t.Run("configuration", func(t *testing.T) {
		before := verb(t, ctx, n, "config", "get")
		apply := func(text string) (string, error) {
			file := filepath.Join(l.Dir, "new.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			limit, cancel := within(ctx, bootLimit, "the new configuration")
			defer cancel()
			return n.Keelson(limit, "config", "apply", file, "--wait")
		}
		if _, err := apply(before + "\nno-such-key: 1\n"); err == nil || !strings.Contains(err.Error(), "no-such-key") {
			t.Errorf("a mistake in the configuration: %v, want an error that names it", err)
		}
		if out, err := apply(withLabel(t, before, "standin=well")); err != nil {
			t.Errorf("a good configuration: %v\n%s", err, out)
		}
		taken := verb(t, ctx, n, "config", "get")
		if !strings.Contains(taken, "standin=well") {
			t.Errorf("the configuration was not taken:\n%s", taken)
		}
		out, err := apply(withLabel(t, before, "standin=sleep"))
		if err == nil {
			t.Errorf("a configuration with which the node never gets ready was taken:\n%s", out)
		}
		t.Logf("%v", err)
		if got := verb(t, ctx, n, "config", "get"); got != taken {
			t.Errorf("the configuration is\n%s\nwant the one before:\n%s", got, taken)
		}
		s := mustStatus(t, ctx, n)
		if s.ConfigUndone == nil || s.ConfigUndone.Reason == "" || !s.Health.OK {
			t.Errorf("status %+v, want healthy, and why the configuration was undone", s)
		}
	})

	t.Run("staged, armed and called off", func(t *testing.T) {
		before := mustStatus(t, ctx, n)
		verb(t, ctx, n, "upgrade", good, "--stage")
		if s := mustStatus(t, ctx, n); s.Boot != before.Boot {
			t.Errorf("boot state %+v after --stage, want %+v", s.Boot, before.Boot)
		}
		verb(t, ctx, n, "upgrade", good, "--no-reboot")
		if s := mustStatus(t, ctx, n); s.Boot.Trial != "b" || s.Next != "b" {
			t.Errorf("boot state %+v after --no-reboot, want a trial of b", s.Boot)
		}
		verb(t, ctx, n, "rollback")
		if s := mustStatus(t, ctx, n); s.Boot != before.Boot || s.Next != "a" {
			t.Errorf("boot state %+v after it was called off, want %+v", s.Boot, before.Boot)
		}
	})

	t.Run("rolled back by hand", func(t *testing.T) {
		upgraded(t, ctx, n, good, "0.2.0")
		verb(t, ctx, n, "rollback", "--wait")
		s := mustStatus(t, ctx, n)
		if s.Version.Version != "0.1.0" || s.Slot != "a" || s.Boot.Default != "a" || s.Boot.Trial != "" || !s.Health.OK {
			t.Errorf("status after the rollback: %+v, want version 0.1.0 in slot a, committed", s)
		}
	})

	t.Run("poweroff", func(t *testing.T) {
		verb(t, ctx, n, "poweroff")
		limit, cancel := within(ctx, bootLimit, "the shutdown")
		defer cancel()
		if err := n.Wait(limit); err != nil {
			t.Fatal(err)
		}
	})
}

// withLabel is a configuration with a label for the node, which a stand-in reads.
func withLabel(t *testing.T, text, label string) string {
	t.Helper()
	labelled := strings.Replace(text, "cluster:\n", "cluster:\n  node-label: ["+label+"]\n", 1)
	if labelled == text {
		t.Fatalf("the configuration has no cluster:\n%s", text)
	}
	return labelled
}

// verb runs a verb of the machine API, which must succeed, and returns what it printed.
func verb(t *testing.T, ctx context.Context, n *harness.Node, args ...string) string {
	t.Helper()
	limit, cancel := within(ctx, bootLimit, "keelson "+args[0])
	defer cancel()
	out, err := n.Keelson(limit, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}
