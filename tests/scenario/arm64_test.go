package scenario

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
	"github.com/keelson-os/keelson/tests/reftool"
)

// boardLab is a cluster of its own with the image of a board, and skips the test (in CI: fails it)
// when this computer has no machine of such a kind.
func boardLab(t *testing.T, p qemu.Platform, board string) *harness.Lab {
	t.Helper()
	if err := qemu.CheckHost(p); err != nil {
		reftool.Missing(t, err)
	}
	return ownLab(t, board+"-", harness.WithoutTraefik, "--board", board)
}

// powerOff presses the power button; a node that does not go off within the limit fails the test.
func powerOff(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	limit, cancel := within(ctx, 90*time.Second, "the shutdown")
	defer cancel()
	if err := n.Powerdown(limit); err != nil {
		t.Fatal(err)
	}
}

// TestArm64GetsReadyAndRunsAPod boots the arm64 image by UEFI (QEMU's virt with AAVMF) on a
// machine that reaches nothing. The node gets Ready, the application in the image runs, its
// programs are arm64's, and the power button switches the machine off.
func TestArm64GetsReadyAndRunsAPod(t *testing.T) {
	p := qemu.Platform{Arch: "arm64", Firmware: qemu.FirmwareUEFI}
	ctx, n := storyOf(t, boardLab(t, p, "arm64"), nil)
	if got := n.Platform(); got != p {
		t.Fatalf("the image's machine is %s, want %s", got, p)
	}
	up(t, ctx, n)
	appRuns(t, ctx, n)
	if got := strings.TrimSpace(kubectl(t, ctx, n, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.architecture}")); got != "arm64" {
		t.Errorf("the node's architecture is %q, want arm64", got)
	}
	if got := inProbe(t, ctx, n, "uname -m"); got != "aarch64" {
		t.Errorf("uname -m in a pod = %q, want aarch64", got)
	}
	powerOff(t, ctx, n)
}
