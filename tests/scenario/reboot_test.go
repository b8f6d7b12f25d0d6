package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// pod is what must stay of a pod.
type pod struct {
	Name, UID, Node string
	Started         string // of the pod
	Containers      string // their start times and restart counts
}

// pods returns the pods of a selector by name.
func pods(ctx context.Context, n *harness.Node, selector string) (map[string]pod, error) {
	out, err := n.Kubectl(ctx, "get", "pods", "-l", selector, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name, UID string }
			Spec     struct{ NodeName string }
			Status   struct {
				StartTime         string
				ContainerStatuses []struct {
					Ready        bool
					RestartCount int
					State        struct {
						Running struct{ StartedAt string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	got := map[string]pod{}
	for _, i := range list.Items {
		p := pod{Name: i.Metadata.Name, UID: i.Metadata.UID, Node: i.Spec.NodeName, Started: i.Status.StartTime}
		for _, c := range i.Status.ContainerStatuses {
			if !c.Ready {
				return nil, fmt.Errorf("pod %s is not ready", p.Name)
			}
			p.Containers += fmt.Sprintf("%s restarts=%d ", c.State.Running.StartedAt, c.RestartCount)
		}
		got[p.Name] = p
	}
	return got, nil
}

// mustPods is pods once all are ready.
func mustPods(t *testing.T, ctx context.Context, n *harness.Node, selector string) map[string]pod {
	t.Helper()
	var got map[string]pod
	eventually(t, ctx, 5*time.Minute, "ready pods", func(ctx context.Context) (err error) {
		got, err = pods(ctx, n, selector)
		if err == nil && len(got) == 0 {
			err = fmt.Errorf("no pod has %s", selector)
		}
		return err
	})
	return got
}

// TestRebootAndPowerCutKeepEverything restarts a node in three ways: Ctrl-Alt-Del, the
// power button with a start after it, and kill -9 of QEMU, which is a power cut. The node
// and its pods are the same objects after each, with what the pods wrote into their
// volumes. Of 100 ConfigMaps whose creation the API acknowledged right before the power
// cut, none is lost.
func TestRebootAndPowerCutKeepEverything(t *testing.T) {
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	nodes, err := n.Client.Nodes(ctx)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("Nodes = %+v, %v, want one", nodes, err)
	}
	before := mustPods(t, ctx, n, "app=web")
	for name := range before {
		kubectl(t, ctx, n, "exec", name, "--", "sh", "-c", "echo kept by $(hostname) > /data/kept; sync")
	}
	same := func(t *testing.T) {
		t.Helper()
		after, err := n.Client.Nodes(ctx)
		if err != nil || len(after) != 1 || after[0].UID != nodes[0].UID {
			t.Fatalf("Nodes = %+v, %v, want the same as before: %+v", after, err, nodes)
		}
		// Containers start anew, and the kubelet needs a while to say so.
		eventually(t, ctx, 5*time.Minute, "the same pods to be ready", func(ctx context.Context) error {
			got, err := pods(ctx, n, "app=web")
			if err != nil {
				return err
			}
			if len(got) != len(before) {
				return fmt.Errorf("%d pods, want %d", len(got), len(before))
			}
			for name, p := range before {
				if got[name].UID != p.UID || got[name].Node != p.Node {
					return fmt.Errorf("pod %s is %+v, want %+v", name, got[name], p)
				}
				if kept, err := n.Kubectl(ctx, "exec", name, "--", "cat", "/data/kept"); err != nil || kept != "kept by "+name+"\n" {
					return fmt.Errorf("pod %s: its file holds %q, %v", name, kept, err)
				}
			}
			return nil
		})
	}
	booted := func(t *testing.T) {
		t.Helper()
		limit, cancel := within(ctx, bootLimit, "the boot")
		defer cancel()
		if _, err := n.Booted(limit); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Client.WaitReady(limit); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("Ctrl-Alt-Del", func(t *testing.T) {
		var keys []map[string]string
		for _, k := range []string{"ctrl", "alt", "delete"} {
			keys = append(keys, map[string]string{"type": "qcode", "data": k})
		}
		if err := n.QMP(ctx, "send-key", map[string]any{"keys": keys}, nil); err != nil {
			t.Fatal(err)
		}
		booted(t)
		same(t)
	})
	t.Run("power button", func(t *testing.T) {
		limit, cancel := within(ctx, 90*time.Second, "the shutdown")
		defer cancel()
		began := time.Now()
		if err := n.Powerdown(limit); err != nil {
			t.Fatal(err)
		}
		t.Logf("off after %.1f s", time.Since(began).Seconds())
		up(t, ctx, n)
		same(t)
	})
	t.Run("power cut", func(t *testing.T) {
		const acknowledged = 100
		var text strings.Builder
		for k := range 2 * acknowledged {
			fmt.Fprintf(&text, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: acked-%03d}\ndata: {n: \"%d\"}\n---\n", k, k)
		}
		limit, cancel := within(ctx, 5*time.Minute, "100 acknowledged writes")
		defer cancel()
		cmd := n.Command(limit, "create", "-f", "-")
		cmd.Stdin = strings.NewReader(text.String())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var acked []string
		for lines := bufio.NewScanner(out); len(acked) < acknowledged && lines.Scan(); {
			if name, ok := strings.CutSuffix(strings.TrimPrefix(lines.Text(), "configmap/"), " created"); ok {
				acked = append(acked, name)
			}
		}
		// At once, in the middle of the writes.
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = cmd.Wait()
		if len(acked) != acknowledged {
			t.Fatalf("%d writes were acknowledged, want %d", len(acked), acknowledged)
		}
		up(t, ctx, n)
		have := map[string]bool{}
		for _, name := range strings.Fields(kubectl(t, ctx, n, "get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}")) {
			have[name] = true
		}
		var lost []string
		for _, name := range acked {
			if !have[name] {
				lost = append(lost, name)
			}
		}
		if len(lost) > 0 {
			t.Errorf("%d of %d acknowledged writes are lost: %v", len(lost), len(acked), lost)
		}
		same(t)
	})
}
