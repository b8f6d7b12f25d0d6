package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/kubeapi"
	"github.com/keelson-os/keelson/tests/qemu"
)

// secondCard gives a machine a second network card on a network of its own, 10.99.0.0/24,
// through which a port of the host reaches the node's API. It returns the card's name in
// QEMU and that port.
func secondCard(t *testing.T, c *qemu.Config) (card string, port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c.Args = append(c.Args,
		"-netdev", fmt.Sprintf("user,id=net1,net=10.99.0.0/24,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d", port, harness.API),
		"-device", "virtio-net-pci,id=nic1,netdev=net1,romfile=")
	return "nic1", port
}

// setLink plugs a card's cable in or pulls it.
func setLink(t *testing.T, ctx context.Context, n *harness.Node, card string, up bool) {
	t.Helper()
	if err := n.QMP(ctx, "set_link", map[string]any{"name": card, "up": up}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestNodeFollowsAnAddressThatChanges moves a running node's cable to another network. The
// Node object takes the new address, the API answers there, logs and exec reach the
// kubelet there, a Service still answers, and no pod and no process was restarted.
func TestNodeFollowsAnAddressThatChanges(t *testing.T) {
	slow(t)
	var card string
	var port int
	ctx, n := story(t, func(c *qemu.Config) { card, port = secondCard(t, c) })
	func() {
		limit, cancel := within(ctx, bootLimit, "the boot")
		defer cancel()
		if err := n.Start(limit); err != nil {
			t.Fatal(err)
		}
		setLink(t, limit, n, card, false)
		if _, err := n.Booted(limit); err != nil {
			t.Fatal(err)
		}
	}()
	appRuns(t, ctx, n)
	const times = `jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].state.running.startedAt}{"\n"}{end}`
	before := kubectl(t, ctx, n, "get", "pods", "-o", times)
	process := inProbe(t, ctx, n, "pidof node")

	setLink(t, ctx, n, "nic0", false)
	setLink(t, ctx, n, card, true)
	kubeconfig, err := n.Lab.Kubeconfig(n.Dir(), port)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubeapi.Load(kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, 3*time.Minute, "the node to take its new address", func(ctx context.Context) error {
		nodes, err := client.Nodes(ctx)
		if err != nil {
			return err
		}
		if len(nodes) != 1 || !nodes[0].Ready || nodes[0].Address != "10.99.0.15" {
			return fmt.Errorf("nodes are %+v, want one, ready, at 10.99.0.15", nodes)
		}
		return nil
	})
	eventually(t, ctx, 2*time.Minute, "exec through the new address", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "exec", "probe", "--", "sh", "-c", "wget -q -T 10 -O - http://$WEB_SERVICE_HOST/ && pidof node")
		if err == nil && !strings.HasSuffix(strings.TrimSpace(out), process) {
			return fmt.Errorf("the node process is %q, was %q", out, process)
		}
		return err
	})
	if after := kubectl(t, ctx, n, "get", "pods", "-o", times); after != before {
		t.Errorf("pods were restarted:\n%swere\n%s", after, before)
	}
	if got := kubectl(t, ctx, n, "get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}"); strings.TrimSpace(got) != "10.99.0.15" {
		t.Errorf("the Service kubernetes leads to %q, want 10.99.0.15", got)
	}
}

const bonded = `role: server
hostname: homelab
network:
  interfaces:
    - match: {name: eth0}
    - match: {name: eth1}
    - name: bond0
      bond: {members: [eth0, eth1], primary: eth0}
      dhcp: true
    - name: iot
      vlan: {id: 20, parent: bond0}
      addresses: [10.77.0.1/24]
secrets: secrets.yaml
`

// cableOut is how long a cable stays out: the bond looks every 100 ms.
const cableOut = 3 * time.Second

// TestVLANOnABond boots a node whose two cards are one bond, with a VLAN on top. The kernel's
// own tables show both, DHCP gives the bond its address, and when the primary card's cable
// was out for a moment, the bond has counted it, is back on that card, and the node is Ready.
func TestVLANOnABond(t *testing.T) {
	slow(t)
	file := filepath.Join(t.TempDir(), "keelson.yaml")
	if err := os.WriteFile(file, []byte(bonded), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, n := storyOf(t, withConfig(t, file), func(c *qemu.Config) { secondCard(t, c) })
	up(t, ctx, n)
	appRuns(t, ctx, n)
	for path, want := range map[string][]string{
		"/proc/1/net/vlan/config":   {"iot", "| 20", "| bond0"},
		"/proc/1/net/bonding/bond0": {"active-backup", "Currently Active Slave: eth0", "Slave Interface: eth1"},
		"/proc/1/net/fib_trie":      {"10.0.2.15", "10.77.0.1"},
	} {
		got := inProbe(t, ctx, n, "cat "+path)
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(got), " "), w) {
				t.Errorf("%s has no %q:\n%s", path, w, got)
			}
		}
	}
	// While the second card is the active one the host cannot ask: another network is behind
	// it. The kernel's table tells afterwards.
	setLink(t, ctx, n, "nic0", false)
	<-time.After(cableOut)
	setLink(t, ctx, n, "nic0", true)
	eventually(t, ctx, 2*time.Minute, "the node to be ready over the first card again", func(ctx context.Context) error {
		nodes, err := n.Client.Nodes(ctx)
		if err == nil && (len(nodes) != 1 || !nodes[0].Ready) {
			err = errors.New("the node is not ready")
		}
		return err
	})
	eventually(t, ctx, time.Minute, "the bond to be back on its primary card", func(ctx context.Context) error {
		got, err := n.Kubectl(ctx, "exec", "probe", "--", "cat", "/proc/1/net/bonding/bond0")
		if err == nil && (!strings.Contains(got, "Primary Slave: eth0") || !strings.Contains(got, "Currently Active Slave: eth0")) {
			err = fmt.Errorf("the bond is\n%s", got)
		}
		return err
	})
	if got := inProbe(t, ctx, n, "grep -A4 'Slave Interface: eth0' /proc/1/net/bonding/bond0"); !strings.Contains(got, "Link Failure Count: 1") {
		t.Errorf("eth0 has not failed once:\n%s", got)
	}
}
