package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/kubeapi"
	"github.com/keelson-os/keelson/tests/qemu"
)

// machineSuffix makes the folder of an image's machine: homelab.img.run.
const machineSuffix = ".run"

func machineDir(image string) string { return filepath.Clean(image) + machineSuffix }

// runOptions are the flags of "keelson run".
type runOptions struct {
	image    string
	firmware string
	memory   string
	cpus     int
	port     int
	forwards []string

	machinePort      int
	machinePortGiven bool

	disk, nic  string
	accel      string
	diskSize   string
	kubeconfig string
	detach     bool
	untilReady bool
	timeout    time.Duration
	snapshot   bool
	fresh      bool
	console    bool
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Boot an image in QEMU",
		Long: `Boots an image in QEMU and shows how it gets ready. Ctrl-C powers the machine off
cleanly; a second Ctrl-C pulls the plug.

The machine follows the image: a PC or a generic arm64 machine, with the firmware that the
image is made for. An image of a board with U-Boot runs on the generic arm64 machine with a
U-Boot of its own, so what is the board's alone is not tried. --firmware chooses another
one; raspi3b is QEMU's Raspberry Pi 3B, with 1 GiB of memory and slow.
The image may be raw, compressed (.zst), qcow2, VMDK, VHD or VHDX.

The image itself is never written: what the machine writes goes to the folder
IMAGE.run, so that the cluster is still there at the next run. --fresh discards it, and
--snapshot keeps nothing at all.

KVM is used when a boot under it has worked on this computer and the image is for its
architecture, else the processor is emulated, which is about ten times slower.`,
		Example: `  keelson run homelab.img
  keelson run homelab.img --memory 1G --cpus 1 --disk nvme --port 7443
  keelson run homelab.img --firmware bios
  keelson run homelab.img --detach --until-ready && keelson kubectl get nodes && keelson status
  keelson stop homelab.img`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.image = args[0]
			o.fitPi3(cmd.Flags().Changed)
			o.machinePortGiven = cmd.Flags().Changed("machine-port")
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.firmware, "firmware", "", "what starts the image: uefi, bios, u-boot, none (QEMU loads the kernel of slot a) or raspi3b (default: what the image is made for)")
	f.StringVar(&o.memory, "memory", "2G", "memory of the machine, such as 512M or 4G")
	f.IntVar(&o.cpus, "cpus", 2, "processors of the machine")
	f.IntVar(&o.port, "port", 6443, "port of 127.0.0.1 where the Kubernetes API appears")
	f.IntVar(&o.machinePort, "machine-port", machine.Port, "port of 127.0.0.1 where the machine API appears, for \"keelson status\" and the like; 0: any free one, as when the default is in use")
	f.StringArrayVar(&o.forwards, "forward", nil, "HOST:GUEST, one more TCP port of the machine to appear on 127.0.0.1, such as 8080:30080; repeat it for more")
	f.StringVar(&o.disk, "disk", "virtio", "disk controller: virtio, sata, nvme or usb")
	f.StringVar(&o.nic, "nic", "virtio", "network card: virtio, e1000e, usb or none")
	f.StringVar(&o.accel, "accel", "auto", "processor: auto, kvm or tcg (emulation)")
	f.StringVar(&o.diskSize, "disk-size", "20G", "size of the virtual disk, at least the image's")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "the cluster's kubeconfig (default: NAME/kubeconfig beside NAME.img)")
	f.BoolVar(&o.detach, "detach", false, "leave the machine running in the background; \"keelson stop\" powers it off")
	f.BoolVar(&o.untilReady, "until-ready", false, "end when the node is ready, and power the machine off unless --detach is given")
	f.DurationVar(&o.timeout, "timeout", 15*time.Minute, "how long --until-ready waits")
	f.BoolVar(&o.snapshot, "snapshot", false, "keep nothing of what the machine writes")
	f.BoolVar(&o.fresh, "fresh", false, "discard the disk of the last run and begin anew")
	f.BoolVar(&o.console, "console", false, "show everything the serial console says")
	return cmd
}

// fitPi3 sets the flags that were not given to what a Raspberry Pi 3B has.
func (o *runOptions) fitPi3(given func(flag string) bool) {
	if qemu.Firmware(o.firmware) != qemu.FirmwarePi3 {
		return
	}
	if !given("memory") {
		o.memory = "1G"
	}
	if !given("cpus") {
		o.cpus = 4
	}
	if !given("disk") {
		o.disk = string(qemu.DiskSD)
	}
	if !given("nic") {
		o.nic = string(qemu.NICUSB)
	}
}

// apiPort is the API's port in the machine: what server.yaml beside the kubeconfig says, if
// that is there and right, else 6443.
func apiPort(kubeconfig string) int {
	cfg, err := config.Validate(filepath.Join(filepath.Dir(kubeconfig), "server.yaml"))
	if kubeconfig == "" || err != nil {
		return 6443
	}
	return cfg.Cluster.HTTPSListenPort
}

// machine turns the flags into a machine's description. kubeconfig is the cluster's, or
// empty.
func (o *runOptions) machine(kubeconfig string) (qemu.Config, error) {
	c := qemu.Config{
		Image: o.image, Dir: machineDir(o.image), Firmware: qemu.Firmware(o.firmware), CPUs: o.cpus,
		Disk: qemu.Bus(o.disk), NIC: qemu.NIC(o.nic), Accel: qemu.Accel(o.accel), Detach: o.detach,
	}
	if o.snapshot && o.detach {
		return c, errors.New("--snapshot and --detach exclude each other: a machine that goes on needs its disk")
	}
	if o.cpus < 1 { // 0 would be the harness's default
		return c, fmt.Errorf("--cpus: found %d, expected 1 or more", o.cpus)
	}
	memory, err := parseSize(o.memory)
	if err != nil {
		return c, fmt.Errorf("--memory: %w", err)
	}
	c.MemoryMB = int(memory >> 20)
	if c.DiskSize, err = parseSize(o.diskSize); err != nil {
		return c, fmt.Errorf("--disk-size: %w", err)
	}
	if c.NIC == qemu.NICNone {
		if len(o.forwards) > 0 {
			return c, errors.New("--forward needs a network card: leave --nic none out")
		}
		return c, nil
	}
	if o.port < 1 || o.port > 65535 {
		return c, fmt.Errorf("--port: found %d, expected 1 to 65535", o.port)
	}
	forward, err := o.machineForward(o.machinePortGiven)
	if err != nil {
		return c, err
	}
	c.Forwards = []qemu.Forward{{Host: o.port, Guest: apiPort(kubeconfig)}, forward}
	for _, s := range o.forwards {
		host, guest, ok := strings.Cut(s, ":")
		h, err1 := strconv.ParseUint(host, 10, 16)
		g, err2 := strconv.ParseUint(guest, 10, 16)
		if !ok || err1 != nil || err2 != nil || h == 0 || g == 0 {
			return c, fmt.Errorf("--forward: found %q, expected HOST:GUEST, such as 8080:30080", s)
		}
		c.Forwards = append(c.Forwards, qemu.Forward{Host: int(h), Guest: int(g)})
	}
	return c, nil
}

// parseSize reads a size such as 512M or 2G, in bytes.
func parseSize(s string) (int64, error) {
	const expected = "a size such as 512M, 2G or 1T"
	if s == "" {
		return 0, errors.New("found nothing, expected " + expected)
	}
	shift, ok := map[byte]int{'M': 20, 'm': 20, 'G': 30, 'g': 30, 'T': 40, 't': 40}[s[len(s)-1]]
	n, err := strconv.ParseInt(s[:len(s)-1], 10, 32)
	if !ok || err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("found %q, expected %s", s, expected)
	}
	return n << shift, nil
}

func (o *runOptions) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	kubeconfig, err := o.findKubeconfig()
	if err != nil {
		return err
	}
	c, err := o.machine(kubeconfig)
	if err != nil {
		return err
	}
	if o.snapshot {
		if c.Dir, err = os.MkdirTemp("", "keelson-run-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	}
	m, err := qemu.New(c)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; \"keelson build\" makes images", err)
	}
	if err != nil {
		return err
	}
	if o.fresh { // only now: a mistake in the flags must not cost a cluster
		if err := m.Discard(ctx); err != nil {
			return explainStart(err, o)
		}
		for _, name := range []string{"kubeconfig", machineJSONFile} {
			if err := os.Remove(filepath.Join(c.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	// From here on signals are ours: the first powers the machine off, the second kills it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	s := &session{o: o, m: m, stdout: stdout, stderr: stderr, signals: signals, started: time.Now()}
	if !o.detach {
		defer func() { err = errors.Join(err, m.Close()) }()
	}
	if err := m.Start(ctx); err != nil {
		return explainStart(err, o)
	}
	s.say("%s: %s, %s, %d CPUs, %s memory, %s disk, network card %s", filepath.Base(o.image), m.Platform(),
		map[qemu.Accel]string{qemu.AccelKVM: "KVM", qemu.AccelTCG: "emulated processor"}[m.Accel()], o.cpus, o.memory, o.disk, o.nic)
	if kubeconfig != "" && o.nic != string(qemu.NICNone) {
		if s.kubeconfig, err = o.ownKubeconfig(kubeconfig, c.Dir); err != nil {
			return err
		}
		if err := s.addMachine(kubeconfig, m.Port(machine.Port)); err != nil {
			return err
		}
	}
	if o.detach && !o.untilReady {
		fmt.Fprintf(stdout, "%s runs in the background (process %d); its console: %s\n", o.image, m.PID(), filepath.Join(m.Dir(), "serial.log"))
		s.printAccess()
		fmt.Fprintf(stdout, "power it off: keelson stop %s\n", o.image)
		return nil
	}
	return s.follow()
}

// explainStart says what to do about errors that a user can avoid.
func explainStart(err error, o *runOptions) error {
	switch {
	case errors.Is(err, qemu.ErrPortInUse):
		if o.machinePortGiven && !free(o.machinePort) {
			return fmt.Errorf("port %d of 127.0.0.1 is in use, perhaps by another machine: choose another with --machine-port, or leave it out (%w)", o.machinePort, err)
		}
		return fmt.Errorf("port %d of 127.0.0.1 or a --forward port is in use, by another machine or by a local Kubernetes: choose another, for example --port %d (%w)", o.port, o.port+1000, err)
	case errors.Is(err, qemu.ErrRunning):
		return fmt.Errorf("%s runs already: \"keelson stop %s\" powers it off (%w)", o.image, o.image, err)
	case errors.Is(err, qemu.ErrImageChanged):
		return fmt.Errorf("%s has changed since its machine first booted, and the cluster on the machine's disk (%s) cannot go on with another image: --fresh discards that cluster; to keep it, build the new image under another name", o.image, machineDir(o.image))
	}
	return err
}

// findKubeconfig returns the cluster's kubeconfig, "" when there is none to be found.
func (o *runOptions) findKubeconfig() (string, error) {
	if o.kubeconfig != "" {
		if _, err := os.Stat(o.kubeconfig); err != nil {
			return "", fmt.Errorf("--kubeconfig: %w", err)
		}
		return o.kubeconfig, nil
	}
	dir, base := filepath.Split(o.image)
	name, _, _ := strings.Cut(base, ".")
	for _, path := range []string{filepath.Join(dir, name, "kubeconfig"), filepath.Join(name, "kubeconfig")} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", nil
}

// ownKubeconfig writes a copy of the cluster's kubeconfig that points to this machine's
// port, whatever endpoint the cluster has elsewhere.
func (o *runOptions) ownKubeconfig(path, dir string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	api := fmt.Sprintf("https://127.0.0.1:%d", o.port)
	text, err := kubeapi.WithServer(data, api)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	own := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(own, text, 0o600); err != nil {
		return "", err
	}
	if bytes.Equal(text, data) {
		return path, nil // the user's own file says the same
	}
	return own, nil
}

// session is one machine in the foreground.
type session struct {
	o              *runOptions
	m              *qemu.Machine
	stdout, stderr io.Writer
	signals        chan os.Signal
	started        time.Time
	kubeconfig     string // "" when there is none
	machineAddress string // of the machine API; "" when there are no credentials for it
}

// say prints one progress line with the time since the start.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.stderr, "%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}

// follow shows the boot and waits for the end the flags ask for.
func (s *session) follow() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bootCtx, cancelBoot := ctx, context.CancelFunc(func() {})
	if s.o.untilReady {
		bootCtx, cancelBoot = context.WithTimeoutCause(ctx, s.o.timeout, fmt.Errorf("not ready after %s", s.o.timeout))
	}
	defer cancelBoot()
	shown := make(chan struct{})
	go func() {
		s.show(ctx)
		close(shown)
	}()
	// The last lines are shown before anything else is printed.
	defer func() { cancel(); <-shown }()

	ready := make(chan error, 1)
	go func() { ready <- s.waitReady(bootCtx) }()
	for {
		select {
		case err := <-ready:
			ready = nil
			switch {
			case err == nil && s.o.untilReady:
				if s.o.detach {
					fmt.Fprintf(s.stdout, "power it off: keelson stop %s\n", s.o.image)
					return nil
				}
				return s.powerOff()
			case err == nil:
				fmt.Fprintf(s.stdout, "\nCtrl-C powers it off.\n")
			case errors.Is(err, qemu.ErrExited):
				return fmt.Errorf("the machine ended before its node was ready: %w", err)
			case s.o.untilReady:
				return err
			default:
				s.say("%v", err)
			}
		case <-s.m.Done():
			if ready != nil {
				if err := <-ready; err != nil {
					return fmt.Errorf("the machine ended before its node was ready: %w", err)
				}
			}
			s.say("the machine has powered itself off")
			return s.m.Wait(ctx)
		case sig := <-s.signals:
			if s.o.detach {
				return fmt.Errorf("%s: the machine goes on in the background; power it off with: keelson stop %s", sig, s.o.image)
			}
			return s.powerOff()
		}
	}
}

// show prints the console as it comes: what PID 1 says, or everything with --console.
func (s *session) show(ctx context.Context) {
	if !s.o.console {
		s.m.Console().Follow(ctx, 0, func(text string) { s.say("%s", text) })
		return
	}
	for mark := 0; ; mark++ {
		l, ok := s.m.Console().Next(ctx, mark)
		if !ok {
			return
		}
		fmt.Fprintln(s.stderr, l.Text)
	}
}

// waitReady waits until the node is ready and tells the user how to reach it.
func (s *session) waitReady(ctx context.Context) error {
	var boot qemu.Boot
	for mark := 0; boot.Ready == 0; {
		var err error
		if boot, mark, err = s.m.Console().WaitBoot(ctx, mark); err != nil {
			return err
		}
		fmt.Fprintf(s.stdout, "\nboot\n%s", boot.Table())
		if boot.Final() {
			return errors.New("the node was not started; the table above says which step failed, docs/troubleshooting.md what to do")
		}
		if boot.Ready == 0 {
			s.say("the node is not ready yet, and goes on trying")
		}
	}
	fmt.Fprintf(s.stdout, "\nnode ready %.1f s after the kernel's start\n", boot.Ready.Seconds())
	if s.kubeconfig == "" {
		if s.o.nic != string(qemu.NICNone) {
			fmt.Fprintf(s.stdout, "no kubeconfig found beside the image: give --kubeconfig to see the node and how to reach it\n")
		}
		return nil
	}
	client, err := kubeapi.Load(s.kubeconfig, fmt.Sprintf("https://127.0.0.1:%d", s.o.port))
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the node says it is ready, but the API does not answer so on 127.0.0.1:"+strconv.Itoa(s.o.port)))
	defer cancel()
	nodes, err := client.WaitReady(limit)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "\nnode\n")
	for _, n := range nodes {
		fmt.Fprintf(s.stdout, "  %s  Ready  %s  %s\n", n.Name, n.Version, n.Address)
	}
	s.printAccess()
	return nil
}

// printAccess prints the line to paste.
func (s *session) printAccess() {
	if s.kubeconfig == "" {
		return
	}
	path := s.kubeconfig
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	fmt.Fprintf(s.stdout, "\nuse kubectl:\n  export KUBECONFIG=%s\nwithout kubectl installed:\n  %s kubectl --kubeconfig %s get nodes\n", shellQuote(path), shellQuote(os.Args[0]), shellQuote(s.kubeconfig))
	if s.machineAddress != "" {
		fmt.Fprintf(s.stdout, "the machine itself, at %s:\n  %s\n", s.machineAddress, s.statusCommand())
	}
}

// shellQuote makes s one word for a shell.
func shellQuote(s string) string {
	if !strings.ContainsAny(s, " \t\n'\"\\$`&|;<>()*?[]#~!{}") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// powerOff presses the power button and waits; one more signal pulls the plug.
func (s *session) powerOff() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), stopLimit, fmt.Errorf("not off after %s", stopLimit))
	defer cancel()
	fmt.Fprintln(s.stderr)
	s.say("powering off; Ctrl-C once more pulls the plug")
	off := make(chan error, 1)
	go func() { off <- s.m.Powerdown(ctx) }()
	select {
	case err := <-off:
		if err == nil || errors.Is(err, qemu.ErrNotRunning) {
			s.say("off")
			return nil
		}
		return err
	case <-s.signals:
		cancel()
		<-off
		s.say("pulling the plug")
		return s.m.Kill()
	}
}
