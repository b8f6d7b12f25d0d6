package scenario

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// TestPCStartsByItsBIOS boots the PC image on a machine that has a BIOS and no UEFI, to a ready
// node in slot a, on each kind of disk that a BIOS knows. Then the disk grows while the machine is
// off, and at the next boot the state partition has grown to its end, on a GUID partition table.
func TestPCStartsByItsBIOS(t *testing.T) {
	slow(t)
	for _, disk := range []qemu.Bus{qemu.DiskVirtio, qemu.DiskSATA, qemu.DiskUSB} {
		t.Run(string(disk), func(t *testing.T) {
			ctx, n := story(t, func(c *qemu.Config) { c.Firmware, c.Disk = qemu.FirmwareBIOS, disk })
			up(t, ctx, n)
			appRuns(t, ctx, n)
			if got := inProbe(t, ctx, n, "ls -d /proc/1/root/sys/firmware/efi 2>/dev/null; true"); got != "" {
				t.Errorf("the machine has UEFI: %s", got)
			}
			inSlotA(t, ctx, n)
			if disk == qemu.DiskVirtio {
				growsTo(t, ctx, n, 8<<30)
			}
		})
	}
}

// TestRaspberryPiStartsThroughUBoot boots the Raspberry Pi image on QEMU's generic machine with
// its U-Boot: boot.scr on an MBR disk chooses slot a, and the node gets Ready. Then the disk
// grows while the machine is off, and the state partition with it, on an MBR.
func TestRaspberryPiStartsThroughUBoot(t *testing.T) {
	slow(t)
	p := qemu.Platform{Arch: "arm64", Firmware: qemu.FirmwareUBoot}
	ctx, n := storyOf(t, boardLab(t, p, "rpi"), nil)
	if got := n.Platform(); got != p {
		t.Fatalf("the image's machine is %s, want %s", got, p)
	}
	up(t, ctx, n)
	appRuns(t, ctx, n)
	inSlotA(t, ctx, n)
	growsTo(t, ctx, n, 8<<30)
	powerOff(t, ctx, n)
}

// TestRaspberryPi3GetsReady boots the same image's kernel, initramfs and device tree on QEMU's
// Raspberry Pi 3B, with the board's own kernel command line: the SD card is found, the state partition formatted, the USB network
// card gets an address, and the node gets ready on a machine of 1 GiB without a clock that keeps time.
func TestRaspberryPi3GetsReady(t *testing.T) {
	slow(t)
	p := qemu.Platform{Arch: "arm64", Firmware: qemu.FirmwarePi3}
	ctx, n := storyOf(t, boardLab(t, p, "rpi"), func(c *qemu.Config) { c.Firmware, c.DiskSize = p.Firmware, 4<<30 })
	limit, cancel := within(ctx, bootLimit, "the boot")
	defer cancel()
	if err := n.Start(limit); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"slot a", "state: making the file system on /dev/mmcblk", "DHCP: 10.0.2.15/24", "Raspberry Pi 3 Model B", "node ready after ",
	} {
		waitMessage(t, limit, n, text)
	}
}

// TestOtherBoardsReachPID1 boots the images of the boards that no QEMU has on its generic machine:
// by the same boot script with QEMU's U-Boot, and the Raspberry Pi 5's kernel by QEMU itself. PID 1
// runs from slot a's checked root.
func TestOtherBoardsReachPID1(t *testing.T) {
	slow(t)
	for board, firmware := range map[string]qemu.Firmware{
		"rock64": qemu.FirmwareUBoot, "rockpro64": qemu.FirmwareUBoot, "pine64": qemu.FirmwareUBoot, "pine64-lts": qemu.FirmwareUBoot, "rpi5": qemu.FirmwareNone,
	} {
		t.Run(board, func(t *testing.T) {
			l := boardLab(t, qemu.Platform{Arch: "arm64", Firmware: firmware}, board)
			ctx, n := storyOf(t, l, func(c *qemu.Config) { c.Firmware = firmware })
			limit, cancel := within(ctx, 5*time.Minute, "the boot to PID 1")
			defer cancel()
			if err := n.Start(limit); err != nil {
				t.Fatal(err)
			}
			waitMessage(t, limit, n, ", slot a")
			waitMessage(t, limit, n, "state: making the file system on /dev/vda")
		})
	}
}

// inSlotA fails the test if the running system is not slot a's.
func inSlotA(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	got := strings.Fields(inProbe(t, ctx, n, "cat /proc/cmdline"))
	for _, want := range []string{"roothash=" + n.Lab.Info.RootHash, "keelson.slot=a"} {
		if !slices.Contains(got, want) {
			t.Errorf("the kernel's command line has no %s: %q", want, got)
		}
	}
}

// growsTo switches a node off, makes its disk size bytes large, and switches it on again: all of
// the disk behind the roots is the state partition's, and what was on it is still there.
func growsTo(t *testing.T, ctx context.Context, n *harness.Node, size int64) {
	t.Helper()
	const mark = "/proc/1/root/var/lib/rancher/scenario-was-here"
	before := stateBytes(t, ctx, n)
	inProbe(t, ctx, n, "echo yes > "+mark)
	powerOff(t, ctx, n)
	if err := n.Grow(ctx, size); err != nil {
		t.Fatal(err)
	}
	boot := up(t, ctx, n)
	appRuns(t, ctx, n)
	if step, _ := boot.Step("state"); !strings.Contains(step.Result, "grown") {
		t.Errorf("the boot table's line is %q, want \"grown\" in it", step)
	}
	state, err := n.Lab.Info.Partition("state")
	if err != nil {
		t.Fatal(err)
	}
	// ext4's own tables take less than a twentieth; the last mebibyte is the backup table's.
	after, whole := stateBytes(t, ctx, n), size-state.Offset-1<<20
	if after <= before || after < whole/20*19 || after > whole {
		t.Errorf("the state partition's file system has %d bytes, had %d, want nearly %d", after, before, whole)
	}
	if got := inProbe(t, ctx, n, "cat "+mark); got != "yes" {
		t.Errorf("the file on the state partition has %q, want %q", got, "yes")
	}
}

// stateBytes is the size of the state partition's file system.
func stateBytes(t *testing.T, ctx context.Context, n *harness.Node) int64 {
	t.Helper()
	out := inProbe(t, ctx, n, "df -P -k /proc/1/root/var/lib/rancher | tail -n 1")
	fields := strings.Fields(out)
	if len(fields) < 2 {
		t.Fatalf("df = %q, want a line of numbers", out)
	}
	kib, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("df = %q: %w", out, err))
	}
	return kib << 10
}
