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

// ctrlAltDel presses the keys, and waits for the next boot.
func ctrlAltDel(t *testing.T, ctx context.Context, n *harness.Node) {
	var keys []map[string]string
	for _, k := range []string{"ctrl", "alt", "delete"} {
		keys = append(keys, map[string]string{"type": "qcode", "data": k})
	}
	if err := n.QMP(ctx, "send-key", map[string]any{"keys": keys}, nil); err != nil {
		t.Fatal(err)
	}
	limit, cancel := within(ctx, bootLimit, "the boot")
	defer cancel()
	if _, err := n.Booted(limit); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Client.WaitReady(limit); err != nil {
		t.Fatal(err)
	}
}

// powerCut kills QEMU, which is a power cut, right behind 100 ConfigMaps whose creation the API acknowledged and in the middle of more.
// After the next boot none of them is lost.
func powerCut(t *testing.T, ctx context.Context, n *harness.Node) {
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
}
