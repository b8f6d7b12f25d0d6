package scenario

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

const nodePort = 30080

// TestFreshImageGetsReadyWithoutACable is the first boot of an image whose machine has no
// network cable. The node gets Ready all the same, and the application in the image runs:
// its probe hears all three pods on their Service's ClusterIP and says so on the console.
// Then somebody plugs the cable in: the node follows its address, and from the host the
// Service answers on its NodePort, and kubectl's logs, exec, port-forward and describe
// work. Nothing was pulled: the machine could not have reached a registry.
func TestFreshImageGetsReadyWithoutACable(t *testing.T) {
	ctx, n := story(t, func(c *qemu.Config) {
		c.LinkDown = true
		c.Forwards = append(c.Forwards, qemu.Forward{Guest: nodePort})
	})
	func() {
		limit, cancel := within(ctx, bootLimit, "the boot without a cable")
		defer cancel()
		boot, err := n.Boot(limit)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("without a cable: ready %.1f s after the kernel's start (%s)", boot.Ready.Seconds(), n.Accel())
		if _, _, err := n.Console().Wait(limit, 0, "the probe's word that the ClusterIP answers", func(line string) bool {
			return strings.Contains(line, "scenario: the cluster IP answered with 3 names")
		}); err != nil {
			t.Fatal(err)
		}
	}()

	if err := n.SetLink(ctx, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, 2*time.Minute, "the node to take its real address", func(ctx context.Context) error {
		nodes, err := n.Client.Nodes(ctx)
		if err != nil {
			return err
		}
		// 10.0.2.15 is what QEMU's DHCP server gives.
		if len(nodes) != 1 || !nodes[0].Ready || nodes[0].Address != "10.0.2.15" {
			return fmt.Errorf("nodes are %+v, want one, ready, at 10.0.2.15", nodes)
		}
		return nil
	})
	appRuns(t, ctx, n)
	names := strings.Fields(kubectl(t, ctx, n, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(names) != 3 {
		t.Fatalf("pods = %q, want three", names)
	}

	t.Run("ClusterIP from another pod", func(t *testing.T) {
		got := strings.Fields(inProbe(t, ctx, n, `for i in $(seq 30); do wget -q -T 10 -O - http://$WEB_SERVICE_HOST/ || exit 1; done | sort -u`))
		slices.Sort(names)
		if !slices.Equal(got, names) {
			t.Errorf("30 requests were answered by %q, want %q", got, names)
		}
	})
	t.Run("NodePort from the host", func(t *testing.T) {
		eventually(t, ctx, time.Minute, "an answer on the NodePort", func(ctx context.Context) error {
			name, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/", n.Port(nodePort)))
			if err == nil && !slices.Contains(names, name) {
				err = fmt.Errorf("answer %q, want one of %q", name, names)
			}
			return err
		})
	})
	t.Run("logs", func(t *testing.T) {
		if got, want := kubectl(t, ctx, n, "logs", names[0]), "web "+names[0]+" starts\n"; got != want {
			t.Errorf("logs = %q, want %q", got, want)
		}
	})
	t.Run("exec", func(t *testing.T) {
		limit, cancel := within(ctx, 2*time.Minute, "exec")
		defer cancel()
		got, err := n.KubectlInput(limit, "through stdin", "exec", "-i", names[0], "--", "sh", "-c", "cat; echo; hostname")
		if want := "through stdin\n" + names[0] + "\n"; err != nil || got != want {
			t.Errorf("exec = %q, %v, want %q", got, err, want)
		}
		if _, err := n.Kubectl(limit, "exec", names[0], "--", "sh", "-c", "exit 7"); err == nil || !strings.Contains(err.Error(), "exit code 7") {
			t.Errorf("exec of exit 7 = %v, want exit code 7", err)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		portForward(t, ctx, n, names[1])
	})
	t.Run("describe", func(t *testing.T) {
		got := kubectl(t, ctx, n, "describe", "pod", names[2])
		for _, want := range []string{"Status:", "Running", "keelson.dev/busybox:1", "Container started"} {
			if !strings.Contains(got, want) {
				t.Errorf("describe has no %q:\n%s", want, got)
			}
		}
		if got := kubectl(t, ctx, n, "describe", "node"); !strings.Contains(got, "KubeletReady") {
			t.Errorf("describe node has no KubeletReady:\n%s", got)
		}
	})
}

// get returns the trimmed body of a 200.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// A new connection each time: connections, not requests, are balanced.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return strings.TrimSpace(string(body)), nil
}

// forwarding matches kubectl's word on which port it listens.
var forwarding = regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+)`)

func portForward(t *testing.T, ctx context.Context, n *harness.Node, pod string) {
	t.Helper()
	ctx, cancel := within(ctx, 2*time.Minute, "port-forward")
	defer cancel()
	cmd := n.Command(ctx, "port-forward", pod, ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel() // kills kubectl
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	var address string
	for address == "" && lines.Scan() {
		if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
			address = m[1]
		}
	}
	if _, port, err := net.SplitHostPort(address); err != nil {
		t.Fatalf("kubectl port-forward printed no address: %v", lines.Err())
	} else if _, err := strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, "http://"+address+"/"); err != nil || got != pod {
		t.Errorf("through the forwarded port: %q, %v, want %q", got, err, pod)
	}
}
