package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/keelson-os/keelson/tests/kubeapi"
	"github.com/keelson-os/keelson/tests/qemu"
)

// API is the port of the Kubernetes API in the machine.
const API = 6443

// Node is a machine that boots a lab's image, and kubectl for its cluster.
type Node struct {
	*qemu.Machine
	Lab        *Lab
	Client     *kubeapi.Client
	kubeconfig string
	contexts   string // file, for the machine API
	mark       int    // in the console: behind the last boot that was waited for
}

// NewNode makes a machine in dir; change, when not nil, changes what it is made of.
// The machine reaches nothing but itself: a node must pull nothing.
func NewNode(lab *Lab, dir string, change func(*qemu.Config)) (*Node, error) {
	cfg := qemu.Config{
		Image: lab.Image, Dir: dir, DiskSize: 6 << 30, Isolated: true,
		Forwards: []qemu.Forward{{Guest: API}, {Guest: MachineAPI}},
	}
	if change != nil {
		change(&cfg)
	}
	m, err := qemu.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Node{Machine: m, Lab: lab}, nil
}

// Start powers the machine on.
func (n *Node) Start(ctx context.Context) error {
	if err := n.Machine.Start(ctx); err != nil {
		return err
	}
	port := n.Port(API)
	if port == 0 {
		return nil // no network card
	}
	var err error
	if n.kubeconfig, err = n.Lab.Kubeconfig(n.Dir(), port); err != nil {
		return err
	}
	if n.Client, err = kubeapi.Load(n.kubeconfig, ""); err != nil {
		return err
	}
	if port = n.Port(MachineAPI); port == 0 {
		return nil
	}
	return n.addContext(ctx, port)
}

// Booted waits on the console until this boot has ended with a ready node.
func (n *Node) Booted(ctx context.Context) (qemu.Boot, error) {
	boot, mark, err := n.Console().WaitBoot(ctx, n.mark)
	if err != nil {
		return boot, err
	}
	n.mark = mark
	if boot.Ready == 0 {
		return boot, fmt.Errorf("the node did not get ready; the boot table:\n%s", boot.Table())
	}
	return boot, nil
}

// Boot is Start and Booted.
func (n *Node) Boot(ctx context.Context) (qemu.Boot, error) {
	if err := n.Start(ctx); err != nil {
		return qemu.Boot{}, err
	}
	return n.Booted(ctx)
}

// Up is Boot, and the API's own word that the node is ready.
func (n *Node) Up(ctx context.Context) (qemu.Boot, error) {
	boot, err := n.Boot(ctx)
	if err != nil {
		return boot, err
	}
	_, err = n.Client.WaitReady(ctx)
	return boot, err
}

// Command is kubectl with these arguments, not yet started.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, n.Lab.Keelson, append([]string{"kubectl", "--kubeconfig", n.kubeconfig}, args...)...)
}

// Kubectl runs kubectl and returns what it printed on stdout.
func (n *Node) Kubectl(ctx context.Context, args ...string) (string, error) {
	return n.KubectlInput(ctx, "", args...)
}

// KubectlInput is Kubectl with something on its stdin.
func (n *Node) KubectlInput(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := n.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Eventually tries every second until try returns nil. When ctx ends it returns the last
// error, with what was awaited.
func Eventually(ctx context.Context, what string, try func(ctx context.Context) error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}
