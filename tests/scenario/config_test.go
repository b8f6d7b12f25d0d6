package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"

	"github.com/keelson-os/keelson/tests/reftool"
)

// broken is a configuration with mistakes of several kinds.
const broken = `role: server
hostname: Kitchen Pi
network:
  interfaces:
    - match: {name: eth0}
      dchp: true
cluster:
  datastore-endpoint: sqlite
  cluster-cidr: 10.43.0.0/16
secrets: secrets.yaml
`

// TestConfigMistakesReadTheSameOnLaptopAndNode edits keelson.yaml in the FAT partition of
// an image, as somebody would on a laptop, and makes mistakes. "keelson config validate"
// lists them; the node that boots the image lists the same lines on its console.
func TestConfigMistakesReadTheSameOnLaptopAndNode(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keelson.yaml")
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets, err := os.ReadFile(filepath.Join(lab.Cluster, "secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets.yaml"), secrets, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lab.Keelson, "config", "validate", file)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("config validate = %v, want exit code 1", err)
	}
	want := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(want) != 4 {
		t.Fatalf("config validate lists %d mistakes, want 4:\n%s", len(want), &stderr)
	}

	ctx, n := storyOf(t, withConfig(t, file), nil)
	limit, cancel := within(ctx, 5*time.Minute, "the mistakes on the console")
	defer cancel()
	if err := n.Start(limit); err != nil {
		t.Fatal(err)
	}
	for _, text := range want {
		waitMessage(t, limit, n, text)
	}
}

// waitMessage waits until PID 1 has said a text, alone or as part of a line.
func waitMessage(t *testing.T, ctx context.Context, n *harness.Node, text string) {
	t.Helper()
	waitMessageFrom(t, ctx, n, 0, text)
}

// waitMessageFrom is the same from a place in the console on, and returns the place behind the message.
func waitMessageFrom(t *testing.T, ctx context.Context, n *harness.Node, from int, text string) int {
	t.Helper()
	_, next, err := n.Console().Wait(ctx, from, fmt.Sprintf("%q", text), func(line string) bool {
		said, ok := qemu.Message(line)
		return ok && strings.Contains(said, text)
	})
	if err != nil {
		t.Error(err)
	}
	return next
}

// withConfig is the lab with another keelson.yaml in its image's FAT partition, as somebody
// would put it there on a laptop. The secrets stay the lab's.
func withConfig(t *testing.T, file string) *harness.Lab {
	t.Helper()
	mcopy := reftool.Need(t, "mcopy", "mtools")
	edited := *lab
	edited.Image = filepath.Join(lab.Dir, t.Name()+".img")
	if err := harness.Extract(lab.Image, edited.Image, 0, lab.Info.DiskSize); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(edited.Image) })
	esp, err := lab.Info.Partition("esp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Check(mcopy, "-o", "-i", fmt.Sprintf("%s@@%d", edited.Image, esp.Offset), file, "::keelson.yaml"); err != nil {
		t.Fatal(err)
	}
	return &edited
}
