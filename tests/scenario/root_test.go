package scenario

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// TestRootIsReadOnlyAndVerified tries to write to the running root, which is refused.
// Then one bit of the root in slot a is flipped while the machine is off: it refuses to
// boot and says which root has a block that verity refuses. With the bit flipped back it boots again.
func TestRootIsReadOnlyAndVerified(t *testing.T) {
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	// As root, through the node's own mount namespace.
	got := inProbe(t, ctx, n, `for f in /x /usr/x /etc/x /bin/x; do touch /proc/1/root$f 2>&1 || true; done`)
	if lines := strings.Split(got, "\n"); len(lines) != 4 || strings.Count(got, "Read-only file system") != 4 {
		t.Errorf("writing to the root gave %q, want four times \"Read-only file system\"", got)
	}
	off, cancel := within(ctx, 90*time.Second, "the shutdown")
	defer cancel()
	if err := n.Powerdown(off); err != nil {
		t.Fatal(err)
	}

	root, err := lab.Info.Partition("root-a")
	if err != nil {
		t.Fatal(err)
	}
	// In the first block, which holds the superblock: any mount reads it.
	disk, place := filepath.Join(n.Dir(), "disk.qcow2"), root.Offset+1030
	if err := harness.FlipBit(disk, place); err != nil {
		t.Fatal(err)
	}
	mark := n.Console().Len()
	limit, cancel := within(ctx, 3*time.Minute, "the refusal")
	defer cancel()
	if err := n.Start(limit); err != nil {
		t.Fatal(err)
	}
	line, _, err := n.Console().Wait(limit, mark, "PID 1's word that slot a's root is refused", func(line string) bool {
		text, ok := qemu.Message(line)
		return ok && strings.HasPrefix(strings.TrimSpace(text), "root corrupted: slot a,") && strings.Contains(text, "dm-verity refused")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("refused with: %s", line.Text)
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, l := range n.Console().Since(mark) {
		if text, ok := qemu.Message(l.Text); ok && strings.HasPrefix(text, "boot table") {
			t.Errorf("the machine booted from a root with a flipped bit")
		}
	}

	if err := harness.FlipBit(disk, place); err != nil {
		t.Fatal(err)
	}
	up(t, ctx, n)
}
