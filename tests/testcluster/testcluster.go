package testcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/kubeapi"
	"github.com/keelson-os/keelson/tests/qemu"
	"github.com/keelson-os/keelson/tests/reftool"
)

// Options say which cluster to boot, and on what machine. Only Image is needed.
type Options struct {
	// Image is an image that "keelson build --config" made: raw, .zst, qcow2, VMDK, VHD or VHDX.
	// It is never written, so any number of clusters may use it at once.
	Image string
	// Kubeconfig is the cluster's, as "keelson config new" wrote it. Default: NAME/kubeconfig
	// beside NAME.img.
	Kubeconfig string
	// APIPort is the port of the Kubernetes API in the machine, https-listen-port of the
	// configuration. Default 6443.
	APIPort int
	// Ports are further TCP ports of the node that the test wants to reach: NodePorts, or those
	// of Services of the type LoadBalancer. See Cluster.Address.
	Ports []int
	// Isolated machines reach neither this computer nor the world: a test that passes has
	// pulled nothing. The ports above still work.
	Isolated bool
	MemoryMB int // MiB; default 2048, and a node alone takes 512
	CPUs     int // default 2
	// Firmware chooses one of those that the image can start by. Default: what the image is
	// made for.
	Firmware qemu.Firmware
	// Timeout is how long the node may take to be ready. Default 10 minutes, and in any case
	// no longer than the test itself may take: emulated, a node is ready after one to three.
	Timeout time.Duration
	// Dir is the machine's folder. Default: a temporary one of the test. With a folder of
	// yours the disk stays when the test is over, and the next Start goes on with it.
	Dir string
	// Machine, when not nil, may change anything else of the machine.
	Machine func(*qemu.Config)
}

// Cluster is a ready cluster of one node.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig for it, good until the test ends.
	Kubeconfig string
	// Server is the URL of its Kubernetes API, without a slash at its end.
	Server string
	// HTTP has the credentials of the kubeconfig.
	HTTP *http.Client
	// Machine is the node's: its console, network cable, reset button and power.
	Machine *qemu.Machine

	api *kubeapi.Client
}

// reserve is what is left of the test's own time to say why a node did not get ready.
const reserve = 15 * time.Second

// Start boots the image and returns when the API says that the node is ready. Meanwhile the
// test's log shows what the node says: run go test with -v to see it as it comes.
//
// A node that does not get ready fails the test, with the boot table and the console's last
// lines. A computer without QEMU or the firmware skips it, or fails it where the variable CI
// is not empty. The machine is switched off when the test ends; of a test that failed the serial
// log goes to the test's artifacts (go test -artifacts).
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	kubeconfig, err := o.kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg := o.config()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	m, err := qemu.New(cfg)
	if err != nil {
		refuse(t, err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			keepLog(t, m)
		}
	})
	ctx, cancel := o.bound(t)
	defer cancel()
	if err := m.Start(ctx); err != nil {
		refuse(t, err)
	}
	began := time.Now()
	t.Logf("%s: %s (%s) starts", filepath.Base(o.Image), m.Platform(), m.Accel())
	c, err := connect(m, kubeconfig, o.apiPort())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wait(ctx, func(text string) { t.Logf("%6.1fs  %s", time.Since(began).Seconds(), text) }); err != nil {
		t.Fatal(err)
	}
	return c
}

// refuse ends a test for a machine that cannot be made.
func refuse(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, qemu.ErrMissing) {
		reftool.Missing(t, err)
	}
	t.Fatal(err)
}

// kubeconfig reads the cluster's kubeconfig.
func (o *Options) kubeconfig() ([]byte, error) {
	if o.Image == "" {
		return nil, errors.New("testcluster: Options.Image is empty, expected the path of an image made by keelson build")
	}
	path := o.Kubeconfig
	if path == "" {
		name, _, _ := strings.Cut(filepath.Base(o.Image), ".")
		path = filepath.Join(filepath.Dir(o.Image), name, "kubeconfig")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("testcluster: the kubeconfig that \"keelson config new\" made (Options.Kubeconfig): %w", err)
	}
	return data, nil
}

func (o *Options) apiPort() int { return cmp.Or(o.APIPort, 6443) }

func (o *Options) config() qemu.Config {
	c := qemu.Config{
		Image: o.Image, Dir: o.Dir, Firmware: o.Firmware, MemoryMB: o.MemoryMB, CPUs: o.CPUs, Isolated: o.Isolated,
		Forwards: []qemu.Forward{{Guest: o.apiPort()}},
	}
	for _, p := range o.Ports {
		if !slices.ContainsFunc(c.Forwards, func(f qemu.Forward) bool { return f.Guest == p }) {
			c.Forwards = append(c.Forwards, qemu.Forward{Guest: p})
		}
	}
	if o.Machine != nil {
		o.Machine(&c)
	}
	return c
}

// bound makes the context that the boot must keep to.
func (o *Options) bound(t testing.TB) (context.Context, context.CancelFunc) {
	limit := cmp.Or(o.Timeout, 10*time.Minute)
	why := fmt.Errorf("the node was not ready after %s (Options.Timeout)", limit)
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, ok := d.Deadline(); ok {
			if left := time.Until(end) - reserve; left < limit {
				limit, why = left, fmt.Errorf("the node was not ready after %s, which is all that \"go test -timeout\" leaves", left.Round(time.Second))
			}
		}
	}
	return context.WithTimeoutCause(t.Context(), limit, why)
}

// connect makes the cluster's kubeconfig for the port that leads to the machine's API.
func connect(m *qemu.Machine, kubeconfig []byte, api int) (*Cluster, error) {
	port := m.Port(api)
	if port == 0 {
		return nil, fmt.Errorf("testcluster: no port of this computer leads to the machine's port %d; Options.Machine must leave the network card and Forwards[0]", api)
	}
	c := &Cluster{Machine: m, Kubeconfig: filepath.Join(m.Dir(), "kubeconfig"), Server: fmt.Sprintf("https://127.0.0.1:%d", port)}
	text, err := kubeapi.WithServer(kubeconfig, c.Server)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.Kubeconfig, text, 0o600); err != nil {
		return nil, err
	}
	if c.api, err = kubeapi.New(text, ""); err != nil {
		return nil, err
	}
	c.HTTP = c.api.HTTP()
	return c, nil
}

// wait follows the boot on the console, then asks the API.
func (c *Cluster) wait(ctx context.Context, say func(text string)) error {
	follow, cancel := context.WithCancel(ctx)
	said := make(chan struct{})
	go func() {
		c.Machine.Console().Follow(follow, 0, say)
		close(said)
	}()
	defer func() { cancel(); <-said }()
	var boot qemu.Boot
	for mark := 0; boot.Ready == 0; {
		var err error
		if boot, mark, err = c.Machine.Console().WaitBoot(ctx, mark); err != nil {
			return err
		}
		if boot.Final() {
			return fmt.Errorf("the node was not started; the boot table:\n%s", boot.Table())
		}
		if boot.Ready == 0 {
			say("not ready yet, and goes on trying; the boot table:\n" + boot.Table())
		}
	}
	return c.WaitReady(ctx)
}

// WaitReady asks the API until all nodes are ready: after a reset, say, or a power cut and
// another Machine.Start. When ctx ends it returns the last reason.
func (c *Cluster) WaitReady(ctx context.Context) error {
	_, err := c.api.WaitReady(ctx)
	return err
}

// Address is where this computer reaches a port of the node that Options.Ports or APIPort
// named, such as "127.0.0.1:41234"; "" for another.
func (c *Cluster) Address(port int) string {
	host := c.Machine.Port(port)
	if host == 0 {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(host))
}

// lastLines is how much of the console a failed test shows.
const lastLines = 30

// keepLog shows the end of the console, and copies the whole to the test's artifacts.
func keepLog(t testing.TB, m *qemu.Machine) {
	lines := m.Console().Since(0)
	var end strings.Builder
	for _, l := range lines[max(0, len(lines)-lastLines):] {
		fmt.Fprintf(&end, "  %s\n", l.Text)
	}
	t.Logf("the last lines of the node's console:\n%s", end.String())
	to := filepath.Join(t.ArtifactDir(), "serial.log")
	if err := copyFile(filepath.Join(m.Dir(), "serial.log"), to); err != nil {
		t.Logf("keep the node's serial log: %v", err)
		return
	}
	t.Logf("all of the node's console, kept with go test -artifacts: %s", to)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
