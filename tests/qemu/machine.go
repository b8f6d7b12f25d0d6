package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Machine is one virtual machine. Methods may be called from several goroutines; Start,
// Kill and Close exclude each other.
type Machine struct {
	cfg     Config
	format  format
	console *Console

	mu       sync.Mutex
	platform Platform // its Firmware is empty until the image's content is known
	firmware firmware
	kernel   kernelFiles
	forwards []Forward
	proc     *process // nil before the first Start
	accel    Accel
}

// process is one run of QEMU.
type process struct {
	pid    int
	done   chan struct{} // closed when QEMU has exited and the console is read to its end
	err    error         // after done: why it ended; nil for an exit code of 0
	killed bool
}

// ErrRunning means that a machine of this folder is running already.
var ErrRunning = errors.New("the machine is already running")

// New checks the configuration, the image and the host, and makes the machine's folder.
// Nothing runs yet. An image that must be unpacked is looked into only by Start.
func New(cfg Config) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	var err error
	m := &Machine{cfg: cfg}
	if m.format, err = imageFormat(cfg.Image); err != nil {
		return nil, err
	}
	if m.cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if m.format == formatRaw {
		if err := m.choose(cfg.Image); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	m.console = newConsole(m.path("serial.log"))
	return m, nil
}

// choose decides by the content of a raw image what machine boots it, completes the
// configuration for that, and checks that the host has what it takes.
func (m *Machine) choose(raw string) error {
	facts, err := inspect(raw)
	if err != nil {
		return err
	}
	p, err := facts.platform(m.cfg.Firmware)
	if err != nil {
		return fmt.Errorf("%s: %w", m.cfg.Image, err)
	}
	if err := m.cfg.fit(p); err != nil {
		return err
	}
	if m.cfg.Accel == AccelKVM && p.Arch != runtime.GOARCH {
		return fmt.Errorf("accel: kvm runs only machines of this computer's own architecture, %s, expected auto or tcg for %s", runtime.GOARCH, p.Arch)
	}
	if err := CheckHost(p); err != nil {
		return fmt.Errorf("a machine of %s needs what this computer lacks: %w", p, err)
	}
	if m.firmware, err = findFirmware(p); err != nil {
		return err
	}
	m.platform = p
	return nil
}

// prepare makes the machine's disk and firmware, or checks those that are there.
func (m *Machine) prepare(ctx context.Context) error {
	record, fresh, err := m.prepareImage(ctx)
	if err != nil {
		return err
	}
	raw := record.Path
	if m.format != formatRaw {
		raw = m.path(rawName)
	}
	if m.platform.Firmware == "" {
		if err := m.choose(raw); err != nil {
			return err
		}
	}
	if fresh {
		if err := m.prepareDisk(ctx, raw); err != nil {
			return err
		}
	}
	if err := m.prepareFirmware(ctx); err != nil {
		return err
	}
	if err := m.prepareKernel(raw); err != nil {
		return err
	}
	if fresh {
		return writeRecord(m.path(recordName), record) // last: without it the disk is made anew
	}
	return nil
}

// Discard removes the disk and the logs that earlier runs left in the machine's folder:
// the next Start begins with the image again. Call it before Console. ErrRunning: nothing
// was removed.
func (m *Machine) Discard(ctx context.Context) error {
	if err := CheckStopped(ctx, m.cfg.Dir); err != nil {
		return err
	}
	if err := m.remove(recordName, "serial.log", "qemu.log"); err != nil {
		return err
	}
	m.console = newConsole(m.path("serial.log"))
	return m.RemoveDisk(ctx)
}

// RemoveDisk removes all that a switched-off machine has left in its folder but the logs.
// ErrRunning: nothing was removed.
func (m *Machine) RemoveDisk(ctx context.Context) error {
	if err := CheckStopped(ctx, m.cfg.Dir); err != nil {
		return err
	}
	// The record first: without it what is left of the disk is not used.
	return m.remove(recordName, diskName, varsName, rawName, codeName, kernelName, initrdName, treeName, writesName, socketName)
}

func (m *Machine) remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.cfg.Dir, name) }

// Dir is the machine's folder.
func (m *Machine) Dir() string { return m.cfg.Dir }

// Console is what the machine says on its serial port.
func (m *Machine) Console() *Console { return m.console }

// Platform is the kind of machine; known from New on for a raw image, else after Start.
func (m *Machine) Platform() Platform {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.platform
}

// Config is what the machine is made of, with the defaults filled in; those that depend on
// the kind of machine are known when Platform is.
func (m *Machine) Config() Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cfg
}

// Accel is how the running machine's processor is emulated: AccelKVM or AccelTCG.
func (m *Machine) Accel() Accel {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accel
}

// Port is the host's port that leads to a port of the machine; 0 if there is none.
func (m *Machine) Port(guest int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.forwards {
		if f.Guest == guest {
			return f.Host
		}
	}
	return 0
}

// Start powers the machine on, and returns when its processor runs. Ports that were
// chosen at the first Start are kept. After the machine has ended it may be started
// again, on the same disk. ctx bounds the start, not the run.
func (m *Machine) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := CheckStopped(ctx, m.cfg.Dir); err != nil {
		return err
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	want := m.forwards
	if want == nil {
		want = m.cfg.Forwards
	}
	var err error
	if m.forwards, err = freePorts(want); err != nil {
		return err
	}
	accels, record := m.accels(ctx)
	for k, accel := range accels {
		mark := m.console.Len()
		err = m.launch(ctx, accel)
		if err == nil && accel == AccelKVM && record != "" {
			err = m.proveKVM(ctx, mark, record)
		}
		if err == nil || ctx.Err() != nil || k+1 == len(accels) {
			break
		}
	}
	return err
}

// CheckStopped returns ErrRunning when a machine of the folder runs, whoever started it.
func CheckStopped(ctx context.Context, dir string) error {
	q, err := dialQMP(ctx, dir)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(fmt.Errorf("%s: %w (process %d)", dir, ErrRunning, q.pid), q.conn.Close())
}

// accels lists what to try in turn. record is where to remember whether KVM boots, ""
// when that is known.
func (m *Machine) accels(ctx context.Context) (try []Accel, record string) {
	if m.cfg.Accel != AccelAuto {
		return []Accel{m.cfg.Accel}, ""
	}
	if m.platform.Arch != runtime.GOARCH || m.platform.Firmware == FirmwarePi3 || !kvmUsable() {
		return []Accel{AccelTCG}, ""
	}
	program, _ := m.platform.program()
	record, err := kvmRecord(ctx, program)
	if err != nil {
		return []Accel{AccelTCG}, ""
	}
	switch data, _ := os.ReadFile(record); strings.TrimSpace(string(data)) {
	case "good":
		return []Accel{AccelKVM, AccelTCG}, ""
	case "bad":
		return []Accel{AccelTCG}, ""
	}
	return []Accel{AccelKVM, AccelTCG}, record
}

// kvmProof is how long a first boot under KVM may take to PID 1's first line. It takes
// about 5 s where KVM works; before that line nothing was written to the disk.
const kvmProof = time.Minute

// proveKVM waits for PID 1's first line and records the outcome; the machine is killed
// when it does not come.
func (m *Machine) proveKVM(ctx context.Context, mark int, record string) error {
	limit, cancel := context.WithTimeout(ctx, kvmProof)
	defer cancel()
	_, _, err := m.console.Wait(limit, mark, "the first message of PID 1 under KVM", func(line string) bool {
		text, ok := Message(line)
		return ok && !loader.MatchString(text) // which a processor that runs no kernel may well run
	})
	verdict := "good\n"
	if err != nil {
		if ctx.Err() != nil {
			return errors.Join(err, m.killLocked())
		}
		verdict = "bad\n"
		err = errors.Join(err, m.killLocked())
	}
	if e := os.MkdirAll(filepath.Dir(record), 0o700); e == nil {
		// Not kept: the next machine tries again.
		_ = os.WriteFile(record, []byte(verdict), 0o600)
	}
	return err
}

// launch starts QEMU, waits until it answers, sets the link and lets the processor run.
func (m *Machine) launch(ctx context.Context, accel Accel) (err error) {
	if err := m.remove(socketName); err != nil {
		return err
	}
	log, err := os.OpenFile(m.path("qemu.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	// Made here, so that only the owner can read what the machine says.
	serial, err := os.OpenFile(m.path("serial.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := serial.Close(); err != nil {
		return err
	}
	if m.cfg.RecordWrites {
		// Each run's record begins anew. QEMU wants the file to be there.
		if err := os.WriteFile(m.path(writesName), nil, 0o600); err != nil {
			return err
		}
	}
	program, _ := m.platform.program()
	cmd := exec.Command(programPath(program), m.cfg.arguments(m.platform, m.firmware, m.kernel, m.forwards, accel)...)
	cmd.Dir = m.cfg.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownSession(m.cfg.Detach)
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the starting thread ends, so it stays until QEMU is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	p.pid = cmd.Process.Pid
	m.proc, m.accel = p, accel
	m.console.setAlive(true)
	go func() {
		if err := m.console.follow(exited); err != nil {
			p.err = errors.Join(p.err, err)
		}
		close(p.done)
	}()
	if err := m.resume(ctx, p); err != nil {
		if kerr := m.killLocked(); kerr != nil {
			err = errors.Join(err, kerr)
		}
		if said, _ := os.ReadFile(m.path("qemu.log")); len(said) > 0 {
			err = fmt.Errorf("%w; %s said: %s", err, program, strings.TrimSpace(string(said)))
		}
		return err
	}
	return nil
}

// resume waits for the control socket of a QEMU that was started paused.
func (m *Machine) resume(ctx context.Context, p *process) error {
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		q, err := dialQMP(limit, m.cfg.Dir)
		if err == nil {
			defer q.conn.Close()
			if m.cfg.LinkDown {
				if err := q.do(limit, "set_link", map[string]any{"name": "nic0", "up": false}, nil); err != nil {
					return err
				}
			}
			return q.do(limit, "cont", nil, nil)
		}
		select {
		case <-p.done:
			return fmt.Errorf("start QEMU: %w", errors.Join(ErrExited, p.err))
		case <-limit.Done():
			return fmt.Errorf("start QEMU: its control socket does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Running reports whether QEMU runs.
func (m *Machine) Running() bool {
	select {
	case <-m.Done():
		return false
	default:
		return true
	}
}

// Done is closed when QEMU has exited; also when it was never started.
func (m *Machine) Done() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return m.proc.done
}

// PID is QEMU's process id; 0 before the first Start.
func (m *Machine) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil {
		return 0
	}
	return m.proc.pid
}

// Wait waits until the machine has ended by itself and returns QEMU's error, if any.
func (m *Machine) Wait(ctx context.Context) error {
	m.mu.Lock()
	p := m.proc
	m.mu.Unlock()
	if p == nil {
		return ErrNotRunning
	}
	select {
	case <-p.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		if p.killed {
			return nil
		}
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// QMP runs one command of QEMU's machine protocol. arguments and result may be nil.
func (m *Machine) QMP(ctx context.Context, command string, arguments, result any) error {
	q, err := dialQMP(ctx, m.cfg.Dir)
	if err != nil {
		return err
	}
	return errors.Join(q.do(ctx, command, arguments, result), q.conn.Close())
}

// SetLink plugs the network cable in or pulls it.
func (m *Machine) SetLink(ctx context.Context, up bool) error {
	return m.QMP(ctx, "set_link", map[string]any{"name": "nic0", "up": up}, nil)
}

// Reset is the reset button: the processor restarts, nothing is written back first.
func (m *Machine) Reset(ctx context.Context) error { return m.QMP(ctx, "system_reset", nil, nil) }

// Powerdown presses the power button and waits until the machine is off.
func (m *Machine) Powerdown(ctx context.Context) error {
	if err := PowerDown(ctx, m.cfg.Dir); err != nil {
		return err
	}
	return m.Wait(ctx)
}

// pressAgain is how long a machine gets to notice the power button: the firmware ignores
// it, and so does a kernel whose PID 1 is not there yet.
const pressAgain = 5 * time.Second

// PowerDown presses the power button of the machine in a folder, whoever started it, and
// waits until QEMU has exited. ErrNotRunning: it was off.
func PowerDown(ctx context.Context, dir string) error {
	q, err := dialQMP(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { q.conn.Close() }()
	for {
		// QEMU may exit between two presses: then gone says so.
		_ = q.do(ctx, "system_powerdown", nil, nil)
		wait, cancel := context.WithTimeout(ctx, pressAgain)
		err := q.gone(wait)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("power off: the machine is still running: %w", context.Cause(ctx))
		}
		// The deadline that ended gone stays on the connection; begin a new one.
		_ = q.conn.Close()
		next, err := dialQMP(ctx, dir)
		if errors.Is(err, ErrNotRunning) {
			return nil
		}
		if err != nil {
			return err
		}
		q = next
	}
}

// KillIn kills the QEMU of a folder, whoever started it.
func KillIn(ctx context.Context, dir string) error {
	q, err := dialQMP(ctx, dir)
	if err != nil {
		return err
	}
	defer q.conn.Close()
	if err := killProcess(q.pid); err != nil {
		return err
	}
	return q.gone(ctx)
}

// Kill is kill -9 of QEMU: a power cut. It returns when QEMU is gone.
func (m *Machine) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killLocked()
}

func (m *Machine) killLocked() error {
	p := m.proc
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	p.killed = true
	if err := killSession(p.pid); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Close kills the machine if it runs. Its folder stays.
func (m *Machine) Close() error { return m.Kill() }
