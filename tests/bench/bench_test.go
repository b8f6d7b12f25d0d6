package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// lookText is what the pod printed on a real node, shortened.
const lookText = `uptime 400.00 500.00
node 120 (node) S 1 120 120 0 -1 4194560 1 2 3 4 1000 500 0 0 20 0 30 0 900 1 1
disk  253       5 vda5 10 0 20 5 30 0 2000 40 0 50 60 0 0 0 0 0 0
uptime 520.00 700.00
node 120 (no de) S 1 120 120 0 -1 4194560 1 2 3 4 1100 520 0 0 20 0 30 0 900 1 1
disk  253       5 vda5 10 0 20 5 30 0 2100 40 0 50 60 0 0 0 0 0 0
meminfo MemTotal:        1000000 kB
meminfo MemAvailable:     700000 kB
meminfo HugePages_Total:       0
process 1 init 9000 4000
process 120 node 300000 160000
end of look
`

func TestLookIsReadAndJudged(t *testing.T) {
	l, err := parseLook(lookText)
	if err != nil {
		t.Fatal(err)
	}
	if l.seconds != 120 || fmt.Sprintf("%.2f", l.nodeCPU) != "1.20" || l.written != 51200 || l.total-l.available != 300000 || l.processes[0].name != "node" {
		t.Errorf("parseLook = %+v", l)
	}
	if _, err := parseLook("uptime 1 2\n"); err == nil {
		t.Error("parseLook of half a look = nil, want an error")
	}
	r := report{board: "pc",
		accel: qemu.AccelTCG, look: l, imageCompressed: 130e6, buildWarm: 3 * time.Second, smallReady: time.Minute,
		flash: flashSpeed{ours: 90e6, dd: 120e6, reading: 80e6},
		parts: []harness.Part{{Name: "b", Size: 2e6}, {Name: "a", Size: 1e6}},
		boot: qemu.Boot{Ready: 30 * time.Second, Steps: []qemu.Step{
			{Name: "kernel", Duration: 2 * time.Second, Result: "ok"}, {Name: "network", Duration: 3 * time.Second, Result: "ok"},
			{Name: "node/datastore", Duration: time.Second, Result: "ok"}, {Name: "node/apiserver", Duration: 4 * time.Second, Result: "ok"},
			{Name: "node", Duration: 20 * time.Second, Result: "ok"},
		}},
	}
	page := replaceMarked("# Benchmarks\n", r.board, r.text())
	for _, want := range []string{
		"| image of pc, compressed, without Traefik | 130 MB | ≤ 120 MB | misses by 10.0 MB (8 %) |",
		"| rebuild, nothing changed | 3.00 s | ≤ 10.0 s | pass |",
		"| idle writes to the state partition | 0.43 kB/s | ≤ 1.00 kB/s | pass |",
		"| idle CPU of the node process, of one core | 1.00 % | ≤ 2.00 % | pass; emulated",
		"| PID 1 start → node process start, besides the network | 5.00 s | ≤ 2.00 s | misses by 3.00 s (150 %)",
		"| node process start → API ready | 5.00 s |",
		"to the same file | 0.75 (90 and 120 MB/s) | ≥ 0.90 | misses; reading back and comparing: 80 MB/s |",
		"| b | 2.00 |\n| a | 1.00 |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	again := replaceMarked(page, "pc", "new")
	if strings.Contains(again, "image of pc") || !strings.HasPrefix(again, "# Benchmarks\n") || strings.Count(again, "writes from here") != 1 {
		t.Errorf("replaceMarked of a written page = %q", again)
	}
	if both := replaceMarked(again, "arm64", "other"); !strings.Contains(both, "new") || !strings.Contains(both, "BOARD=arm64 writes from here -->\n\nother\n") {
		t.Errorf("replaceMarked for a second board = %q", both)
	}
}

func TestRootPartsAddsUpGroups(t *testing.T) {
	const listing = `drwxr-xr-x 0/0                     256 2026-11-21 02:10 squashfs-root
lrwxrwxrwx 0/0                       7 2026-11-21 02:10 squashfs-root/bin -> usr/bin
-rwxr-xr-x 0/0               193937570 2026-11-21 02:10 squashfs-root/usr/bin/node
-rw-r--r-- 0/0                     100 2026-11-21 02:10 squashfs-root/usr/lib/modules/6.12/a.ko.xz
-rw-r--r-- 0/0                      23 2026-11-21 02:10 squashfs-root/usr/lib/modules/6.12/b.ko.xz
`
	got, err := rootParts(listing)
	if err != nil || len(got) != 2 || got["usr/bin/node"] != 193937570 || got["kernel modules"] != 123 {
		t.Errorf("rootParts = %v, %v", got, err)
	}
}

func TestMachineFollowsTheBoard(t *testing.T) {
	for board, want := range map[string]qemu.Platform{
		"pc":    {Arch: "amd64", Firmware: qemu.FirmwareUEFI},
		"arm64": {Arch: "arm64", Firmware: qemu.FirmwareUEFI},
		"rpi":   {Arch: "arm64", Firmware: qemu.FirmwareUBoot},
		"rpi5":  {},
		"none":  {},
	} {
		if got, err := platform(board); got != want || (err == nil) != (want != qemu.Platform{}) {
			t.Errorf("platform(%s) = %v, %v, want %v", board, got, err, want)
		}
	}
}
