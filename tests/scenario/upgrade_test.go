package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// backLimit is how long a failed upgrade may take until the old system has a ready node again, in guest time. The machine's
// clock is this computer's.
const backLimit = 5 * time.Minute

// status is what "keelson status" says.
func status(ctx context.Context, n *harness.Node) (machine.Status, error) {
	var s machine.Status
	out, err := n.Keelson(ctx, "status", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// mustStatus is status, which must answer.
func mustStatus(t *testing.T, ctx context.Context, n *harness.Node) machine.Status {
	t.Helper()
	s, err := status(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitStatus waits until the machine API tells what ok accepts.
func awaitStatus(t *testing.T, ctx context.Context, n *harness.Node, limit time.Duration, what string, ok func(machine.Status) error) machine.Status {
	t.Helper()
	var got machine.Status
	eventually(t, ctx, limit, what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		s, err := status(ctx, n)
		if err != nil {
			return err
		}
		got = s
		return ok(s)
	})
	return got
}

// newBundle builds a bundle of the lab's board in the test's folder.
func newBundle(t *testing.T, l *harness.Lab, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(l.Dir, name+".keelson")
	began := time.Now()
	if err := l.Bundle(t.Context(), out, append([]string{"--karg", "mitigations=off", "--version", name}, args...)...); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("bundle %s: %.1f MB in %.1f s", name, float64(info.Size())/1e6, time.Since(began).Seconds())
	return out
}

// downtime asks the API server's readiness until stop is called, which returns how long it did not answer, from the first
// failure to the last.
func downtime(t *testing.T, n *harness.Node) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(t.Context()) // which ends with the test, whatever becomes of it
	var first, last time.Time
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			limit, done := context.WithTimeout(ctx, 2*time.Second)
			_, err := n.Client.Nodes(limit)
			done()
			if now := time.Now(); err != nil && ctx.Err() == nil {
				if first.IsZero() {
					first = now
				}
				last = now
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return func() time.Duration {
		cancel()
		wg.Wait()
		return last.Sub(first)
	}
}

// keep writes into the cluster and into a volume, and returns a check that all of it is there.
func keep(t *testing.T, ctx context.Context, n *harness.Node) (same func(t *testing.T)) {
	t.Helper()
	before := mustPods(t, ctx, n, "app=web")
	for name := range before {
		kubectl(t, ctx, n, "exec", name, "--", "sh", "-c", "echo kept by $(hostname) > /data/kept; sync")
	}
	nodes, err := n.Client.Nodes(ctx)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("Nodes = %+v, %v, want one", nodes, err)
	}
	return func(t *testing.T) {
		t.Helper()
		eventually(t, ctx, 5*time.Minute, "the same pods with their data", func(ctx context.Context) error {
			after, err := n.Client.Nodes(ctx)
			if err != nil || len(after) != 1 || after[0].UID != nodes[0].UID {
				return fmt.Errorf("nodes = %+v, %w, want the same as before: %+v", after, err, nodes)
			}
			got, err := pods(ctx, n, "app=web")
			if err != nil {
				return err
			}
			if len(got) != len(before) {
				return fmt.Errorf("%d pods, want %d", len(got), len(before))
			}
			for name, p := range before {
				if got[name].UID != p.UID {
					return fmt.Errorf("pod %s is %+v, want %+v", name, got[name], p)
				}
				if kept, err := n.Kubectl(ctx, "exec", name, "--", "cat", "/data/kept"); err != nil || kept != "kept by "+name+"\n" {
					return fmt.Errorf("pod %s: its file holds %q, %w", name, kept, err)
				}
			}
			return nil
		})
	}
}

// upgraded applies a bundle with "keelson upgrade", which waits until the new system is good, and returns what it said.
func upgraded(t *testing.T, ctx context.Context, n *harness.Node, file, version string) machine.Status {
	t.Helper()
	limit, cancel := within(ctx, 2*bootLimit, "the upgrade")
	defer cancel()
	before := mustStatus(t, limit, n)
	began := time.Now()
	out, err := n.Keelson(limit, "upgrade", file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("keelson upgrade said:\n%s", out)
	after := mustStatus(t, limit, n)
	t.Logf("upgrade to %s: %.1f s from the command to a good system", version, time.Since(began).Seconds())
	if after.Version.Version != version || after.Slot == before.Slot || after.Boot.Default != after.Slot || after.Boot.Trial != "" ||
		after.Upgrade == nil || after.Upgrade.State != machine.AttemptGood {
		t.Fatalf("status after the upgrade: %+v, want version %s in the other slot than %s, committed", after, version, before.Slot)
	}
	return after
}

// comesBack applies a bundle that must fail, and waits until the old system is there again with a ready node, at most
// backLimit after the reboot into the new one. slow is what emulation adds to a boot: there are up to three of the new system and one of the
// old.
func comesBack(t *testing.T, ctx context.Context, n *harness.Node, slow time.Duration, file string, reason ...string) machine.Status {
	t.Helper()
	backLimit := backLimit + 4*slow
	limit, cancel := within(ctx, 2*bootLimit, "the rollback")
	defer cancel()
	before := mustStatus(t, limit, n)
	// Not waiting, so that the time is ours to take.
	if out, err := n.Keelson(limit, "upgrade", file, "--no-reboot"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	began := time.Now()
	if out, err := n.Keelson(limit, "reboot"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after := awaitStatus(t, ctx, n, backLimit+2*time.Minute, "the old system's ready node", func(s machine.Status) error {
		if s.Upgrade == nil || s.Upgrade.State != machine.AttemptRolledBack || !s.Health.OK {
			return fmt.Errorf("slot %s, health %+v, upgrade %+v", s.Slot, s.Health, s.Upgrade)
		}
		return nil
	})
	took := time.Since(began)
	t.Logf("back and ready %.1f s after the reboot, of which emulation may take %.1f s; reason: %s\nlast lines: %s\npanic: %.300s", took.Seconds(), 4*slow.Seconds(), after.Upgrade.Reason,
		strings.Join(after.Upgrade.Tail, "\n  "), after.Upgrade.Panic)
	if took > backLimit {
		t.Errorf("back after %s, want at most %s", took.Round(time.Second), backLimit)
	}
	if after.Slot != before.Slot || after.Version != before.Version || after.Boot.Default != before.Slot || after.Boot.Trial != "" {
		t.Errorf("status after the rollback: %+v, want slot %s and version %s committed", after, before.Slot, before.Version.Version)
	}
	for _, text := range reason {
		if !strings.Contains(after.Upgrade.Reason+strings.Join(after.Upgrade.Tail, "\n")+after.Upgrade.Panic, text) {
			t.Errorf("the reason %q has no %q", after.Upgrade.Reason, text)
		}
	}
	return after
}

// TestUpgradeAndRollback upgrades a node by UEFI with "keelson upgrade": pods and their volumes come back, and the verbs that look at a node work. In "make test-all" then by an Upgrade
// object, under load, and upgrades that fail in every way: the node is back on the system before it, with the data as before and the reason in "keelson
// status", and no port is open that docs/security.md does not list. In "make test" TestUpgradesOnEveryBootChain has the ways back, without Kubernetes.
func TestUpgradeAndRollback(t *testing.T) {
	upgradeStory(t, lab)
}

// TestUpgradeThroughUBoot is the same on the Raspberry Pi's image, through U-Boot on an MBR disk.
func TestUpgradeThroughUBoot(t *testing.T) {
	slow(t)
	upgradeStory(t, boardLab(t, qemu.Platform{Arch: "arm64", Firmware: qemu.FirmwareUBoot}, "rpi"))
}

func upgradeStory(t *testing.T, l *harness.Lab) {
	good := newBundle(t, l, "0.2.0")
	ctx, n := storyOf(t, l, forwardPorts)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	same := keep(t, ctx, n)

	stop := downtime(t, n)
	upgraded(t, ctx, n, good, "0.2.0")
	t.Logf("the API did not answer for %.1f s", stop().Seconds())
	same(t)
	t.Run("verbs", func(t *testing.T) { verbsThatLook(t, ctx, n) })
	if !everything() {
		return
	}
	t.Run("new certificates", func(t *testing.T) {
		renewed(t, ctx, n)
		same(t)
	})
	next := newBundle(t, l, "0.2.1")
	t.Run("by an object", func(t *testing.T) {
		upgradeByObject(t, ctx, n, next, "0.2.1")
		same(t)
	})
	t.Run("under load", func(t *testing.T) {
		upgradeUnderLoad(t, ctx, n, good, "0.2.0")
		same(t)
	})
	for _, bad := range brokenUpgrades {
		t.Run(bad.name, func(t *testing.T) {
			file := bad.bundle(t, l, programs(t, l.Info.Arch))
			bad.came(t, n, comesBack(t, ctx, n, 0, file, bad.reason...))
			same(t)
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("ports", func(t *testing.T) { ports(t, ctx, n) })
}

// refusals tries bundles that must be refused: nothing of the boot state changes, and the error says what is wrong.
func refusals(t *testing.T, ctx context.Context, n *harness.Node, good string) {
	t.Helper()
	before := mustStatus(t, ctx, n)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	h, err := bundle.ReadHeader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	l := n.Lab
	write := func(name string, change func([]byte) []byte) string {
		file := filepath.Join(l.Dir, name+".keelson")
		if err := os.WriteFile(file, change(append([]byte(nil), data...)), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(file) })
		return file
	}
	other := filepath.Join(l.Dir, "other")
	if _, err := l.Run(ctx, "config", "new", other); err != nil {
		t.Fatal(err)
	}
	signed := func(name, dir string, change func(*bundle.Manifest)) string {
		file := filepath.Join(l.Dir, name+".keelson")
		t.Cleanup(func() { os.Remove(file) })
		if err := signAgain(file, data, h, dir, change); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct{ name, file, want string }{
		{"truncated", write("truncated", func(b []byte) []byte { return b[:len(b)/2] }), "cut short"},
		// In every block: the node reads only those that it does not have.
		{"flipped bits in the artefacts", write("flipped", func(b []byte) []byte {
			for i := int(h.Manifest.Artefacts[0].Offset); i < len(b); i += 4096 {
				b[i] ^= 1
			}
			return b
		}), "sha-256"},
		// In its version, so that it is still a manifest.
		{"flipped bit in the manifest", write("manifest", func(b []byte) []byte { b[bytes.Index(b, []byte(h.Manifest.Version))] ^= 1; return b }), "signature is not valid"},
		{"unsigned", write("unsigned", unsigned), "not signed"},
		{"signed with another key", signed("foreign", other, func(*bundle.Manifest) {}), "key"},
		{"older serial", signed("older", l.Cluster, func(m *bundle.Manifest) { m.Serial = 1 }), "serial"},
		{"for another board", signed("board", l.Cluster, func(m *bundle.Manifest) { m.Board = "some-other" }), "board"},
	} {
		t.Run(c.name, func(t *testing.T) {
			limit, cancel := within(ctx, 3*time.Minute, "the refusal")
			defer cancel()
			out, err := n.Keelson(limit, "upgrade", c.file)
			if err == nil {
				t.Fatalf("the bundle was taken:\n%s", out)
			}
			if !strings.Contains(strings.ToLower(err.Error()), c.want) {
				t.Errorf("the error has no %q: %v", c.want, err)
			}
			t.Logf("%v", err)
			after := mustStatus(t, limit, n)
			if after.Boot != before.Boot || after.Slot != before.Slot {
				t.Errorf("boot state %+v, want as before: %+v", after.Boot, before.Boot)
			}
		})
	}
}

// unsigned takes the signature out of a bundle, by docs/bundles.md: spaces behind the manifest stand in its place, which JSON
// allows, so that all else is where the manifest says, whatever the lengths are.
func unsigned(b []byte) []byte {
	le := binary.LittleEndian
	manifest, signature := le.Uint32(b[12:]), le.Uint32(b[16:])
	le.PutUint32(b[12:], manifest+signature)
	le.PutUint32(b[16:], 0)
	copy(b[64+manifest:], bytes.Repeat([]byte{' '}, int(signature)))
	return b
}

// signAgain writes a bundle with the artefacts of another and a changed manifest, signed with the release key in a folder.
func signAgain(file string, data []byte, h *bundle.Header, dir string, change func(*bundle.Manifest)) error {
	text, err := os.ReadFile(filepath.Join(dir, "release.key"))
	if err != nil {
		return err
	}
	key, err := bundle.ParsePrivateKey(text, nil)
	if err != nil {
		return err
	}
	m := h.Manifest
	change(&m)
	var parts []bundle.Source
	for _, a := range m.Artefacts {
		parts = append(parts, bundle.Source{Name: a.Name, Size: a.Size, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data[a.Offset : a.Offset+a.Size])), nil
		}})
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(bundle.Write(f, m, parts, key), f.Close())
}
