package scenario

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/bios"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/firmware/uboot"
	"github.com/keelson-os/keelson/tests/firmware/uefi"
	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
	"github.com/keelson-os/keelson/tests/reftool"
)

// brokenUpgrades are upgrades that must come back by themselves.
var brokenUpgrades = []brokenUpgrade{
	{name: "kernel panics", reason: []string{"did not get as far as mounting the state partition"}},
	{name: "init exits", program: "init", mode: "exit", reason: []string{"did not get as far as mounting the state partition"}},
	{name: "node never ready", program: "node", mode: "sleep", reason: []string{"no progress for", "node process not ready"}},
	{name: "hangs", program: "node", mode: "freeze", reason: []string{"3 boots ended without a word"}},
	{name: "kernel panics late", program: "node", mode: "crash", reason: []string{"panic"}, lastWords: "Kernel panic - not syncing: sysrq triggered crash", slow: true},
}

type brokenUpgrade struct {
	name          string
	program, mode string   // of which testdata/standin takes the place, and as what; empty: the kernel finds no init
	reason        []string // texts that the reported reason has
	lastWords     string   // of the kernel, which are reported where the machine keeps them: in UEFI's variables
	slow          bool     // only in "make test-all"
}

// came fails the test unless the status after the way back has the kernel's last words.
func (b brokenUpgrade) came(t *testing.T, n *harness.Node, s machine.Status) {
	t.Helper()
	if n.Config().Firmware == qemu.FirmwareUEFI && !strings.Contains(s.Upgrade.Panic, b.lastWords) {
		t.Errorf("the kernel's last words are %q, want %q in them", s.Upgrade.Panic, b.lastWords)
	}
}

func (b brokenUpgrade) version() string { return "0.3.0-" + strings.ReplaceAll(b.name, " ", "-") }

// bundle builds it, from these programs.
func (b brokenUpgrade) bundle(t *testing.T, l *harness.Lab, programs string) string {
	t.Helper()
	if b.program == "" {
		return newBundle(t, l, b.version(), "--programs", programs, "--karg", "rdinit=/missing")
	}
	dir := filepath.Join(l.Dir, "programs-"+b.program+"-"+b.mode)
	if err := standin(t.Context(), l.Info.Arch, programs, dir, b.program, b.mode); err != nil {
		t.Fatal(err)
	}
	return newBundle(t, l, b.version(), "--programs", dir)
}

// programs are those of an architecture that the build made.
func programs(t *testing.T, arch string) string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin", arch)
}

// standin makes dir with the programs in from, of which testdata/standin takes one's place.
func standin(ctx context.Context, arch, from, dir, program, mode string) error {
	if _, err := harness.Check("cp", "-al", from, dir); err != nil {
		return err
	}
	out := filepath.Join(dir, program)
	if err := os.Remove(out); err != nil { // a link: the original stays
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w -X main.mode="+mode, "-o", out, "./testdata/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	return nil
}

// bootChain is a way to start that QEMU's machines have.
type bootChain struct {
	name     string
	board    string
	platform qemu.Platform
	slow     bool // only in "make test-all"
	boots    func(io.ReaderAt, int64) (firmware.Report, error)
}

var bootChains = []bootChain{
	{"UEFI", "pc", qemu.Platform{Arch: "amd64", Firmware: qemu.FirmwareUEFI}, false, func(d io.ReaderAt, size int64) (firmware.Report, error) {
		return uefi.Check(d, size, uefi.AMD64)
	}},
	{"U-Boot", "rpi", qemu.Platform{Arch: "arm64", Firmware: qemu.FirmwareUBoot}, false, func(d io.ReaderAt, size int64) (firmware.Report, error) {
		return uboot.Start(disk.NewOverlay(d), size, uboot.Pi("Raspberry Pi 4", firmware.Range{End: 0x3b400000}, handmade.Board("raspberrypi,4-model-b")))
	}},
	{"BIOS", "pc", qemu.Platform{Arch: "amd64", Firmware: qemu.FirmwareBIOS}, true, func(d io.ReaderAt, size int64) (firmware.Report, error) {
		if r, err := bios.Check(d, size); err != nil || len(r.Faults) > 0 {
			return r, err
		}
		return bios.Start(disk.NewOverlay(d), size)
	}},
}

// machine is a smaller one than Kubernetes needs. It has one processor: several machines with two each, emulated on two, wait for
// each other's locks most of the time.
func (c bootChain) machine(cfg *qemu.Config) {
	cfg.Firmware, cfg.MemoryMB, cfg.CPUs = c.platform.Firmware, 768, 1
}

// standinPrograms is where a standinLab in dir has the programs of its node.
func standinPrograms(dir string) string { return filepath.Join(dir, "programs") }

// standinLab is a cluster of its own, of which the node's program is a stand-in that is ready at once.
func standinLab(t *testing.T, c bootChain) *harness.Lab {
	t.Helper()
	if err := qemu.CheckHost(c.platform); err != nil {
		reftool.Missing(t, err)
	}
	dir := scratch(t, "standin-"+c.board+"-")
	if err := standin(t.Context(), c.platform.Arch, programs(t, c.platform.Arch), standinPrograms(dir), "node", "well"); err != nil {
		t.Fatal(err)
	}
	l, err := harness.NewLab(t.Context(), dir, harness.WithoutTraefik, "--board", c.board, "--programs", standinPrograms(dir),
		"--karg", "mitigations=off", "--minimum-serial", "1000")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// quickBoot is how long a machine takes from the kernel's start to a stand-in that is ready, when nothing emulates it.
const quickBoot = 3 * time.Second

// booted starts a node whose program is a stand-in, waits until it is ready, and returns how much longer it took than quickBoot.
func booted(t *testing.T, ctx context.Context, n *harness.Node) (slow time.Duration) {
	t.Helper()
	limit, cancel := within(ctx, bootLimit, "the boot")
	defer cancel()
	boot, err := n.Boot(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %.1f s after the kernel's start (%s)", boot.Ready.Seconds(), n.Accel())
	return max(0, boot.Ready-quickBoot)
}

// starts returns what the datastore of a node with a stand-in held at its last start that is in the log: one word for each start.
func starts(ctx context.Context, n *harness.Node) ([]string, error) {
	out, err := n.Keelson(ctx, "logs", "node")
	if err != nil {
		return nil, err
	}
	const mark = "standin: the datastore holds: "
	at := strings.LastIndex(out, mark)
	if at < 0 {
		return nil, fmt.Errorf("the node's log has no %q:\n%s", mark, out)
	}
	line, _, _ := strings.Cut(out[at+len(mark):], "\n")
	return strings.Fields(line), nil
}

// wantStarts fails the test unless the datastore comes to hold this. The log is written every few seconds.
func wantStarts(t *testing.T, ctx context.Context, n *harness.Node, want []string) {
	t.Helper()
	eventually(t, ctx, time.Minute, "the datastore's content in the log", func(ctx context.Context) error {
		got, err := starts(ctx, n)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("the datastore holds %q, want %q", got, want)
		}
		return err
	})
}

// TestUpgradesOnEveryBootChain upgrades machines that start in every way that QEMU has, with bundles that are good, refused, and broken
// in every way, and cuts the power in the middle. The system is the one that users have, but for the node's program, for
// which a stand-in says that it is ready: TestUpgradeAndRollback is the same with Kubernetes. Two stories run side by side,
// since most of their time is waiting.
func TestUpgradesOnEveryBootChain(t *testing.T) {
	for _, c := range bootChains {
		if !c.slow || everything() {
			t.Run(c.name, func(t *testing.T) { upgradesOn(t, c) })
		}
	}
}

func upgradesOn(t *testing.T, c bootChain) {
	l := standinLab(t, c)
	good := newBundle(t, l, "0.2.0", "--programs", standinPrograms(l.Dir))
	files := map[string]string{}
	var ways []brokenUpgrade
	for _, b := range brokenUpgrades {
		if b.slow && !everything() {
			continue
		}
		ways = append(ways, b)
		files[b.name] = b.bundle(t, l, standinPrograms(l.Dir))
	}
	back := func(t *testing.T, ctx context.Context, n *harness.Node, slow time.Duration, b brokenUpgrade, want ...string) {
		b.came(t, n, comesBack(t, ctx, n, slow, files[b.name], b.reason...))
		wantStarts(t, ctx, n, want)
	}
	// Two machines at a time: more, emulated, wait for each other's processors, and five minutes are the limit of a way back.
	var lanes sync.WaitGroup
	defer lanes.Wait()
	lanes.Go(func() {
		t.Run("upgrade", func(t *testing.T) {
			ctx, n := storyOf(t, l, c.machine)
			slow := booted(t, ctx, n)
			t.Run("refused bundles", func(t *testing.T) { refusals(t, ctx, n, good) })
			wantStarts(t, ctx, n, []string{"well"})
			upgraded(t, ctx, n, good, "0.2.0")
			want := []string{"well", "well"}
			wantStarts(t, ctx, n, want)
			for _, b := range ways[:2] {
				want = append(want, "well")
				t.Run(b.name, func(t *testing.T) { back(t, ctx, n, slow, b, want...) })
			}
		})
		t.Run("power cuts", func(t *testing.T) { powerCuts(t, l, c.machine, good, c.boots) })
	})
	lanes.Go(func() {
		if everything() {
			t.Run("no network", func(t *testing.T) { withoutNetwork(t, l, c) })
		}
		for _, b := range ways[2:] { // those that are mostly waiting
			t.Run(b.name, func(t *testing.T) {
				ctx, n := storyOf(t, l, c.machine)
				back(t, ctx, n, booted(t, ctx, n), b, "well", "well")
			})
		}
	})
}

// withoutNetwork upgrades to a system that gets no address, because the cable is pulled, and is well otherwise. The old system had one, so it comes back.
func withoutNetwork(t *testing.T, l *harness.Lab, c bootChain) {
	const version = "0.3.0-no-network"
	file := newBundle(t, l, version, "--programs", standinPrograms(l.Dir), "--karg", "keelson.gate=2")
	ctx, n := storyOf(t, l, c.machine)
	booted(t, ctx, n)
	limit, cancel := within(ctx, 2*bootLimit, "the rollback")
	defer cancel()
	for _, args := range [][]string{{"upgrade", file, "--no-reboot"}, {"reboot"}} {
		if out, err := n.Keelson(limit, args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	trial := waitMessageFrom(t, limit, n, 0, "Keelson "+version+", slot b")
	if err := n.SetLink(limit, false); err != nil {
		t.Fatal(err)
	}
	waitMessageFrom(t, limit, n, trial, "Keelson "+l.Info.Version+", slot a")
	if err := n.SetLink(limit, true); err != nil {
		t.Fatal(err)
	}
	s := awaitStatus(t, ctx, n, bootLimit, "the old system", func(s machine.Status) error {
		if s.Upgrade == nil || s.Upgrade.State != machine.AttemptRolledBack {
			return fmt.Errorf("slot %s, upgrade %+v", s.Slot, s.Upgrade)
		}
		return nil
	})
	t.Logf("reason: %s", s.Upgrade.Reason)
	if !strings.Contains(s.Upgrade.Reason, "network: no address") || s.Slot != "a" {
		t.Errorf("slot %s, reason %q, want that a network is missed", s.Slot, s.Upgrade.Reason)
	}
}
