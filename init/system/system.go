// Package system is PID 1 proper: it brings the machine up step by step, starts the node
// process, keeps the machine healthy, and takes it down.
//
// The order is that of the table in Run; each step's doc says what it needs before it. A
// step that fails says so on the console and the rest goes on as far as it can: a node
// that cannot start is still a machine one can read from and power off.
package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/clock"
	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/console"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/efivar"
	"github.com/keelson-os/keelson/init/guard"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/health"
	"github.com/keelson-os/keelson/init/kmsg"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/module"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/network"
	"github.com/keelson-os/keelson/init/reap"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/init/shutdown"
	"github.com/keelson-os/keelson/init/state"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/supervise"
	"github.com/keelson-os/keelson/init/trial"
	"github.com/keelson-os/keelson/init/watchdog"
)

// Build says which program this is; the linker sets it.
type Build struct {
	Version string
	Time    time.Time // the clock is never before it
}

// turn is the time between two turns of the main loop, which the watchdog depends on.
const turn = time.Second

// initLogSize and initLogKeep bound PID 1's own log: bytes per file and older files.
const (
	initLogSize = 1 << 20
	initLogKeep = 2
)

// system is what the steps hand to each other. The fields from mu on are also read by
// the shutdown, which may begin at any time.
type system struct {
	build       Build
	con         *console.Console
	steps       *step.Table
	reaper      reap.Reaper
	boot        handoff.Boot
	loader      *module.Loader
	coldplugged chan struct{} // closed when the drivers of the devices found at start are loaded
	// tablePrinted is closed when the boot table is on the consoles: from then on they show a status.
	tablePrinted chan struct{}
	tableOnce    sync.Once
	params       cmdline.Params
	trusted      bool // the real-time clock was believable at start
	well         *health.Check
	events       control.Ring
	requests     chan shutdown.Request
	fat          chan struct{} // holds a value while somebody has the FAT partition
	upgrade      *trial.Upgrade
	lastBoot     []string // last lines of the boot before, if that was one of the other slot

	mu        sync.Mutex
	cfg       *config.Config
	net       *network.Manager
	ntp       *clock.Clock
	machineID string
	stateUp   bool          // the state partition is mounted and can be written
	log       *logfile.File // on it; nil before
	node      *node         // nil: the node was not started
	services  []*service
	dog       *watchdog.Dog // nil: none yet
	trial     *underTrial   // nil: nothing is on trial
	ending    string        // "reboot" or "power off": somebody asked for it
}

// service is a service and how it is stopped.
type service struct {
	*supervise.Service
	stop func() // returns when it has ended and its log is closed
}

// Run brings the machine up and does not return.
func Run(b Build) {
	merr := mount.All(mount.System())
	con := console.Open()
	defer guard.Recover(con, "PID 1")
	s := &system{
		build: b, con: con, steps: step.NewTable(con), coldplugged: make(chan struct{}), tablePrinted: make(chan struct{}),
		requests: make(chan shutdown.Request), fat: make(chan struct{}, 1),
	}
	s.well = health.New(s.writable)
	s.steps.Otherwise = "the rest goes on as far as it can; if the node does not get ready, power the machine off and on"
	s.prepare()
	ctx, stop := context.WithCancel(context.Background())
	s.background(ctx, "signals", func() { shutdown.Signals(ctx, s.requests) })
	s.background(ctx, "power button", func() {
		if err := shutdown.Button(ctx, s.requests); err != nil {
			con.Printf("power button: %v", err)
		}
	})
	// To the very end: the pods that a shutdown stops become ours.
	s.background(ctx, "reaper", func() { s.reaper.Run(context.Background()) })
	s.background(ctx, "screen", func() { s.drawScreen(ctx) })
	s.background(ctx, "kernel log", func() { s.watchRoot(ctx) })
	s.background(ctx, "control socket", s.serveControl)
	s.background(ctx, "boot", func() { s.bringUp(ctx, merr) })

	tick := time.NewTicker(turn)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.well.Tick()
		case r := <-s.requests:
			s.end(r)
			stop()
			s.takeDown(r)
		}
	}
}

// background starts a goroutine whose panic is a message and a reboot, not an exit.
func (s *system) background(ctx context.Context, name string, f func()) {
	guard.Go(s.con, name, func() {
		f()
		if ctx.Err() == nil && (name == "reaper" || name == "signals") {
			panic("BUG: ended")
		}
	})
}

// prepare sets up this process: its environment and limits, and what the initramfs stage
// left.
func (s *system) prepare() {
	// The kernel puts parameters of its command line that it does not know into our
	// environment; no child should see them.
	os.Clearenv()
	os.Setenv("PATH", "/usr/bin:/usr/sbin")
	os.Setenv("HOME", "/root")
	unix.Umask(0o022)
	// The Go runtime would end PID 1 on these.
	signal.Ignore(unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
		unix.SIGABRT, unix.SIGSYS, unix.SIGTRAP, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF)
	// A small heap is worth more than speed here; each further processor would have
	// caches of its own.
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(16 << 20)
	// The kernel's 4096 is not enough for a node; programs that need more than 1024 raise
	// their own soft limit, and select(2) users are not broken by a high one.
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1 << 20})
	os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	b, err := handoff.Load(handoff.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.con.Printf("%v", err)
	}
	s.boot = b
	if firmware, loader, err := efivar.Times(efivar.Dir); err == nil {
		s.steps.Add(step.Step{Name: "firmware", Duration: firmware}, step.Step{Name: "loader", Duration: loader})
	} else {
		s.con.Logf("times of the firmware and the boot loader are not known: %v", err)
	}
	s.steps.Add(b.Steps...)
	if s.params, err = cmdline.Read(); err != nil {
		s.con.Printf("%v", err)
	}
	// The system's version is that of its image or bundle; the linker's is this program's.
	if v := running.Parse(s.params).Version; v != "" {
		s.build.Version = v
	}
	s.con.Printf(trial.BootLine+"%s, slot %s", s.build.Version, orUnknown(b.Slot))
	s.upgrade = s.newUpgrade()
	s.trusted = clock.Trusted(s.build.Time, "")
	clock.Floor(s.build.Time, "")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// bringUp is the boot: every step in order.
func (s *system) bringUp(ctx context.Context, merr error) {
	for _, x := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"mounts", func(context.Context) (string, error) { return s.mounts(merr) }},
		{"modules", s.modules},
		{"slot", s.slot},
		{"state", s.state},
		{"identity", s.identity},
		{"config", s.config},
		{"upgrade", s.beginUpgrade},
		{"hostname", s.hostname},
		{"machine-api", s.startMachine},
		{"network", s.network},
		{"sysctls", s.sysctls},
		{"clock", s.clock},
	} {
		err := s.steps.Run(x.name, func() (string, error) { return x.run(ctx) })
		if err != nil {
			s.events.Add(control.EventBoot, "step %s: %v", x.name, err)
		}
		s.gate().Step(x.name)
		if ctx.Err() != nil || s.isEnding() {
			return
		}
		if x.name == "modules" {
			s.background(ctx, "devices", func() { s.devices(ctx) })
		}
	}
	s.startNode(ctx)
}

// writable is the state partition's part in the health check.
func (s *system) writable(probe bool) error {
	s.mu.Lock()
	up := s.stateUp
	s.mu.Unlock()
	if !up {
		return nil // the boot says what is wrong with it; a restart would not help
	}
	return state.Writable(probe)
}

// watchRoot tells of blocks of the root that dm-verity refused.
func (s *system) watchRoot(ctx context.Context) {
	limit := console.Limit{Burst: 3, Every: time.Minute}
	err := kmsg.Watch(ctx, func(c kmsg.Corruption) {
		if _, ok := limit.Allow(); !ok {
			return
		}
		s.con.Printf("%s", c.Line(orUnknown(s.boot.Slot), s.boot.Part))
		s.con.Printf("  what to do: write the image to the disk again; if this comes back, replace the disk")
	})
	if err != nil {
		s.con.Printf("kernel log: %v", err)
	}
}

// mountsNote is shown in the boot table.
func mountsNote(rootHash string) string {
	if len(rootHash) < 16 {
		return ""
	}
	return fmt.Sprintf("root %s…", rootHash[:16])
}
