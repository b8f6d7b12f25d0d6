// Command bench measures an image and an idle node against the budgets of the design, and
// rewrites the marked part of docs/benchmarks.md. "make bench" runs it.
//
// It takes about half an hour: a cold build, a boot in a VM of 512 MiB, and a boot in one
// of 1 GiB that is then left alone. What it disturbs least: sizes and times come from the
// builder's manifest and from PID 1's boot table; the idle node is measured by one pod's
// shell script that sleeps, looks at /proc twice, and is read only afterwards.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	board string
	page  string
	idle  time.Duration
	look  time.Duration
	cold  bool
	// flash, if not empty, is an image: only its flashing is measured, and no page written.
	flash string
}

func run(ctx context.Context, args []string, log io.Writer) (err error) {
	root, err := harness.Root()
	if err != nil {
		return err
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.board, "board", "pc", "board to measure; one that QEMU can boot")
	f.StringVar(&o.page, "page", filepath.Join(root, "docs", "benchmarks.md"), "page whose marked part is rewritten")
	f.DurationVar(&o.idle, "idle", 5*time.Minute, "how long the node is left alone before it is looked at")
	f.DurationVar(&o.look, "look", 2*time.Minute, "how long CPU time and writes are counted")
	f.BoolVar(&o.cold, "cold", true, "also measure a build with an empty cache, which downloads packages")
	f.StringVar(&o.flash, "flash", "", "measure only how fast this image is flashed to a file beside it, and print that")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.flash != "" {
		s, err := measureFlash(ctx, o.flash, filepath.Dir(o.flash))
		if err == nil {
			_, err = fmt.Fprint(log, s.line())
		}
		return err
	}
	p, err := platform(o.board)
	if err != nil {
		return err
	}
	if err := qemu.CheckHost(p); err != nil {
		return err
	}
	out := filepath.Join(root, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(out, "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := &bench{o: o, dir: dir, log: log, began: time.Now(), r: report{board: o.board}}
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"build", b.build}, {"flash", b.flash}, {"boot in 512 MiB", b.small}, {"idle in 1 GiB", b.idle},
	} {
		b.say("%s", phase.name)
		if err := phase.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	if err := b.r.write(o.page); err != nil {
		return err
	}
	b.say("wrote %s", o.page)
	return nil
}

// platform is the machine that boots a board's image.
func platform(board string) (qemu.Platform, error) {
	b, err := boards.Load(board)
	if err != nil {
		return qemu.Platform{}, err
	}
	firmware, ok := map[string]qemu.Firmware{boards.BootSystemd: qemu.FirmwareUEFI, boards.BootUBoot: qemu.FirmwareUBoot}[b.Boot]
	if !ok {
		return qemu.Platform{}, fmt.Errorf("board %s: QEMU has no machine with its firmware, expected a board that starts by UEFI or U-Boot", board)
	}
	return qemu.Platform{Arch: b.Arch, Firmware: firmware}, nil
}

// bench is one run; r collects what the page shows.
type bench struct {
	o     options
	dir   string
	log   io.Writer
	began time.Time
	lab   *harness.Lab
	r     report
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%6.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// build measures the builder: with an empty cache, with nothing changed, with only the
// configuration changed; and the image.
func (b *bench) build(ctx context.Context) error {
	args := []string{"--board", b.o.board, "--embed-image", harness.Busybox}
	if b.o.cold {
		args = append(args, "--cache", filepath.Join(b.dir, "cache"))
	}
	var err error
	began := time.Now()
	if b.lab, err = harness.NewLab(ctx, b.dir, harness.WithoutTraefik, args...); err != nil {
		return err
	}
	if b.o.cold {
		b.r.buildCold = time.Since(began)
		b.say("cold build: %.1f s", b.r.buildCold.Seconds())
	}
	timed := func(args ...string) (time.Duration, error) {
		began := time.Now()
		err := b.lab.Build(ctx, args...)
		return time.Since(began), err
	}
	if b.r.buildWarm, err = timed(args...); err != nil {
		return err
	}
	server := filepath.Join(b.lab.Cluster, "server.yaml")
	text, err := os.ReadFile(server)
	if err != nil {
		return err
	}
	if err := os.WriteFile(server, append(text, "\n# changed\n"...), 0o600); err != nil {
		return err
	}
	if b.r.buildConfig, err = timed(args...); err != nil {
		return err
	}
	b.r.info = b.lab.Info
	if b.r.parts, err = imageParts(b.lab, b.dir); err != nil {
		return err
	}
	st, err := os.Stat(b.lab.Image)
	if err != nil {
		return err
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(b.lab.Image, &stat); err != nil {
		return err
	}
	b.r.imageRaw, b.r.imageStored = st.Size(), stat.Blocks*512

	if b.r.imageCompressed, err = b.compressed(ctx, server); err != nil {
		return err
	}
	full := filepath.Join(b.lab.Cluster, "full.yaml")
	if err := os.WriteFile(full, bytes.Replace(text, []byte("  disable: [traefik] "), []byte("  # disable: [traefik] "), 1), 0o600); err != nil {
		return err
	}
	b.r.imageWithTraefik, err = b.compressed(ctx, full)
	return err
}

// compressed returns the size of the compressed image of a configuration, in bytes. It has no
// busybox: it is what a user downloads.
func (b *bench) compressed(ctx context.Context, config string) (int64, error) {
	image := filepath.Join(b.dir, "compressed.img")
	args := []string{"build", "--board", b.o.board, "--allow-moved-packages", "--config", config, "--out", image, "--compress", "zst"}
	if b.o.cold {
		args = append(args, "--cache", filepath.Join(b.dir, "cache"))
	}
	if _, err := b.lab.Run(ctx, args...); err != nil {
		return 0, err
	}
	st, err := os.Stat(image + ".zst")
	if err != nil {
		return 0, err
	}
	return st.Size(), os.Remove(image + ".zst")
}

// node makes a machine of the given memory whose folder is removed by the caller.
func (b *bench) node(name string, memoryMB int) (*harness.Node, error) {
	return harness.NewNode(b.lab, filepath.Join(b.dir, name), func(c *qemu.Config) { c.MemoryMB = memoryMB })
}

// bootLimit is how long a boot may take, emulated, on a busy host.
const bootLimit = 15 * time.Minute

// smallPod is a pod of the user's.
const smallPod = `apiVersion: v1
kind: Pod
metadata: {name: user, namespace: default}
spec:
  containers:
  - {name: user, image: "keelson.dev/busybox:1", imagePullPolicy: Never, command: [sleep, "86400"]}
`

// small asks whether a node gets ready in 512 MiB, and runs a pod.
func (b *bench) small(ctx context.Context) (err error) {
	n, err := b.node("small", 512)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	boot, err := n.Up(ctx)
	if err != nil {
		// A result, not a failure of the bench.
		b.r.smallError = strings.SplitN(err.Error(), "\n", 2)[0]
		return nil
	}
	b.r.smallReady = boot.Ready
	if _, err = n.KubectlInput(ctx, smallPod, "apply", "-f", "-"); err == nil {
		_, err = n.Kubectl(ctx, "wait", "pod/user", "--for=condition=Ready", "--timeout=300s")
	}
	if err != nil {
		b.r.smallError = strings.SplitN(err.Error(), "\n", 2)[0]
	}
	return nil
}

// idle boots in 1 GiB, leaves the node alone, and looks at it.
func (b *bench) idle(ctx context.Context) (err error) {
	n, err := b.node("idle", 1024)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	limit, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if b.r.boot, err = n.Up(limit); err != nil {
		return err
	}
	b.r.accel = n.Accel()
	b.say("ready after %.1f s; now idle for %s", b.r.boot.Ready.Seconds(), b.o.idle)
	text, err := b.observe(ctx, n)
	if err != nil {
		return err
	}
	if b.r.look, err = parseLook(text); err != nil {
		return fmt.Errorf("%w in what the pod said:\n%s", err, text)
	}
	off, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return n.Powerdown(off)
}

// observe runs the looking pod and returns what it printed.
func (b *bench) observe(ctx context.Context, n *harness.Node) (string, error) {
	pod := fmt.Sprintf(lookPod, int(b.o.idle.Seconds()), int(b.o.look.Seconds()))
	if _, err := n.KubectlInput(ctx, pod, "create", "-f", "-"); err != nil {
		return "", err
	}
	// Nobody asks the node anything while it is watched.
	wait := b.o.idle + b.o.look
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	limit, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var text string
	err := harness.Eventually(limit, "the end of the pod's look", func(ctx context.Context) (err error) {
		text, err = n.Kubectl(ctx, "logs", "look")
		if err == nil && !strings.Contains(text, "\n"+lookEnd+"\n") {
			err = errors.New("it is still looking")
		}
		return err
	})
	return text, err
}

// hostLine describes where the numbers were taken.
func hostLine(arch string, accel qemu.Accel) string {
	model := "unknown CPU"
	cpus := 0
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				cpus++
			}
		}
	}
	version := "QEMU"
	if out, err := exec.Command(map[string]string{"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[arch], "--version").Output(); err == nil {
		if f := strings.Fields(string(out)); len(f) > 3 {
			version = "QEMU " + f[3]
		}
	}
	how := "KVM"
	if accel == qemu.AccelTCG {
		how = "emulated (TCG)"
	}
	return fmt.Sprintf("%d × %s, %s, %s", cpus, model, version, how)
}
