package scenario

import (
	"testing"

	"github.com/keelson-os/keelson/tests/qemu"
)

// TestLifeOfANode takes a machine from a fresh image without a network cable through what befalls a node: its process dies, it is
// restarted in three ways (Ctrl-Alt-Del, the power button with a start after it, and kill -9 of QEMU, which is a power cut), and a bit of
// its root flips. The node and its pods are the same objects after each restart, with what the pods wrote into their volumes.
//
// It is one machine for all because a boot takes two minutes of an emulated one.
func TestLifeOfANode(t *testing.T) {
	t.Parallel()
	ctx, n := story(t, func(c *qemu.Config) {
		c.LinkDown = true
		c.Forwards = append(c.Forwards, qemu.Forward{Guest: nodePort})
	})
	bootWithoutACable(t, ctx, n)
	same := keep(t, ctx, n)
	t.Run("service and kubectl", func(t *testing.T) { serviceAndKubectl(t, ctx, n) })
	t.Run("root is read-only", func(t *testing.T) { rootIsReadOnly(t, ctx, n) })
	t.Run("node process dies", func(t *testing.T) { nodeProcessDies(t, ctx, n) })
	t.Run("Ctrl-Alt-Del", func(t *testing.T) {
		ctrlAltDel(t, ctx, n)
		same(t)
	})
	t.Run("power button", func(t *testing.T) {
		powerOff(t, ctx, n)
		t.Run("reference tools accept the disk", func(t *testing.T) { acceptDiskOf(t, n) })
		t.Run("flipped bit", func(t *testing.T) { flippedBit(t, ctx, n) })
		up(t, ctx, n)
		same(t)
	})
	t.Run("power cut", func(t *testing.T) {
		powerCut(t, ctx, n)
		same(t)
	})
}
