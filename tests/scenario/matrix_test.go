package scenario

import (
	"fmt"
	"testing"

	"github.com/keelson-os/keelson/tests/qemu"
)

// TestMachinesOfEveryKindBoot boots the image on machines that differ in processors,
// memory, disk controller and network card, to a ready node whose API the host reaches.
// The six cover every pair of disk and card, and every count of processors with both sizes.
func TestMachinesOfEveryKindBoot(t *testing.T) {
	machines := []qemu.Config{
		{CPUs: 1, MemoryMB: 1024, Disk: qemu.DiskVirtio, NIC: qemu.NICVirtio},
		{CPUs: 2, MemoryMB: 4096, Disk: qemu.DiskSATA, NIC: qemu.NICE1000E},
		{CPUs: 4, MemoryMB: 1024, Disk: qemu.DiskNVMe, NIC: qemu.NICVirtio},
		{CPUs: 1, MemoryMB: 4096, Disk: qemu.DiskSATA, NIC: qemu.NICVirtio},
		{CPUs: 4, MemoryMB: 4096, Disk: qemu.DiskVirtio, NIC: qemu.NICE1000E},
		{CPUs: 2, MemoryMB: 1024, Disk: qemu.DiskNVMe, NIC: qemu.NICE1000E},
	}
	slow(t)
	for _, m := range machines {
		t.Run(fmt.Sprintf("%d CPUs, %d MiB, %s, %s", m.CPUs, m.MemoryMB, m.Disk, m.NIC), func(t *testing.T) {
			ctx, n := story(t, func(c *qemu.Config) {
				c.CPUs, c.MemoryMB, c.Disk, c.NIC = m.CPUs, m.MemoryMB, m.Disk, m.NIC
			})
			up(t, ctx, n)
			appRuns(t, ctx, n)
		})
	}
}
