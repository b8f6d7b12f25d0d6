package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// MachineAPI is the port of the machine API in the machine.
const MachineAPI = 6440

// Bundle builds an upgrade for the lab's board, signed with the cluster's release key, with these further arguments of
// "keelson bundle build".
func (l *Lab) Bundle(ctx context.Context, out string, args ...string) error {
	args = append([]string{"bundle", "build", "--board", l.Info.Board, "--allow-moved-packages",
		"--config", filepath.Join(l.Cluster, "server.yaml"), "--key", filepath.Join(l.Cluster, "release.key"), "--out", out}, args...)
	_, err := l.Run(ctx, args...)
	return err
}

// MachineCommand is "keelson ARGUMENTS" for this machine, by the machine API, not yet started.
func (n *Node) MachineCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.Lab.Keelson, args...)
	cmd.Env = append(os.Environ(), "KEELSON_CONTEXT_FILE="+n.contexts)
	return cmd
}

// Keelson runs a verb of the machine API and returns what it printed on stdout; its errors have stderr.
func (n *Node) Keelson(ctx context.Context, args ...string) (string, error) {
	cmd := n.MachineCommand(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("keelson %s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// addContext makes a context file for the machine's present port of the machine API.
func (n *Node) addContext(ctx context.Context, port int) error {
	n.contexts = filepath.Join(n.Dir(), "contexts.yaml")
	if err := os.Remove(n.contexts); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err := n.Keelson(ctx, "context", "add", "lab", "--dir", n.Lab.Cluster, "--node", "127.0.0.1:"+strconv.Itoa(port))
	return err
}
