package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/guard"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/init/shutdown"
	"github.com/keelson-os/keelson/init/state"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/sysctl"
	"github.com/keelson-os/keelson/init/trial"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
	"github.com/keelson-os/keelson/upgrade/snapshot"
)

const (
	// gateParam is the kernel parameter with the health gate's limit in minutes.
	gateParam = "keelson.gate"
	// gateMost bounds it.
	gateMost = 24 * time.Hour
	// failLimit is how long the records of a failure may take before the machine reboots without: a disk may be why it
	// failed. The boot loader counts all the same.
	failLimit = 30 * time.Second
	// commitTries is how often a slot that is good is committed before PID 1 gives up, commitPause the time between.
	commitTries = 5
	commitPause = 10 * time.Second

	panicLogSize = 256 << 10
	panicLogKeep = 1
)

// strict are the kernel's settings in a trial: it restarts, which counts, where it would go on with a processor that is
// stuck. Under emulation a processor may well be stuck for 20 s, the kernel's default; it is 60 s, twice watchdog_thresh.
// Source: Documentation/admin-guide/lockup-watchdogs.rst.
var (
	strict = []sysctl.Setting{
		{Key: "kernel.panic", Value: "10"}, {Key: "kernel.panic_on_oops", Value: "1"},
		{Key: "kernel.watchdog_thresh", Value: "30"}, {Key: "kernel.softlockup_panic", Value: "1"},
	}
	lenient = []sysctl.Setting{{Key: "kernel.softlockup_panic", Value: "0"}, {Key: "kernel.watchdog_thresh", Value: "10"}}
)

// underTrial is what has to prove itself in this boot. Its fields but gate are guarded by system.mu.
type underTrial struct {
	gate      *trial.Gate
	upgrade   bool   // the booted slot
	id        string // of its attempt; empty: no record
	connected bool   // the system before had an address
	config    bool   // the configuration
	result    string
}

// newUpgrade needs what the initramfs stage left.
func (s *system) newUpgrade() *trial.Upgrade {
	return &trial.Upgrade{
		Slot: bootcontrol.Slot(s.boot.Slot), RootHash: s.boot.RootHash, MinimumSerial: running.Parse(s.params).MinimumSerial,
		Snapshots: snapshot.Store{Data: record.Datastore, Dir: record.SnapshotDir}, Say: s.sayUpgrade,
		Tail: func(slot string) []string {
			if slot == string(bootcontrol.Slot(s.boot.Slot).Other()) {
				return s.lastBoot
			}
			return nil
		},
	}
}

// slot needs the disk's name. It finds out whether the booted slot is on trial, before anything else of the system is
// asked to work; where the boot loader does not count, this boot is the last one of the slot until it is committed.
func (s *system) slot(ctx context.Context) (string, error) {
	if s.boot.Disk == "" || s.upgrade.Slot.Valid() != nil {
		return "skipped: it is not known which slot was booted", nil
	}
	x := slots{s}
	s.upgrade.Control = x
	var boot bootcontrol.State
	err := x.with(func(n *bootcontrol.Node) (err error) {
		boot, err = n.State()
		return errors.Join(err, n.Count())
	})
	if err != nil {
		return "", step.Advise(err, "the node goes on; upgrades do not work until this is mended: write the image again")
	}
	s.upgrade.Boot = &boot
	if !s.upgrade.OnTrial() {
		return fmt.Sprintf("%s, next %s", s.boot.Slot, boot.Next()), nil
	}
	s.begin(ctx, func(t *underTrial) { t.upgrade = true })
	return fmt.Sprintf("%s is on trial, %d tries left", s.boot.Slot, boot.TriesLeft), nil
}

// beginUpgrade needs the state partition and the configuration, and comes before the node.
func (s *system) beginUpgrade(ctx context.Context) (string, error) {
	s.lastWords()
	if s.stateUp {
		s.upgrade.Records = trial.Folder(state.Dir)
	}
	o, err := s.upgrade.Begin()
	if o.Reboot != "" {
		s.reboot(ctx, "a trial that failed")
		return o.Note, err
	}
	if o.Verdict == trial.Try {
		s.begin(ctx, func(t *underTrial) { t.upgrade, t.id, t.connected = true, o.ID, o.Connected })
	}
	return o.Note, err
}

// lastWords keeps what the kernel wrote before it crashed in an earlier boot.
func (s *system) lastWords() {
	if !s.stateUp {
		return // they stay where they are until they can be kept
	}
	text, err := trial.TakePstore(trial.PstoreDir, func(text string) error {
		log := logfile.New(config.LogDir, "panic", panicLogSize, panicLogKeep)
		defer log.Close()
		_, err := log.Write([]byte(time.Now().UTC().Format(time.RFC3339) + " found at boot:\n" + text + "\n"))
		return err
	})
	if err != nil {
		s.con.Printf("last words of the kernel: %v", err)
	}
	if text != "" {
		s.con.Printf("the kernel crashed in an earlier boot; its last words are in %s", filepath.Join(config.LogDir, "panic.log"))
		s.events.Add(control.EventBoot, "the kernel crashed in an earlier boot: %s", trial.PanicLine(text))
		s.upgrade.Panic = text
	}
}

// readLastBoot reads what the last boot of the other slot left in the logs.
func (s *system) readLastBoot() {
	logs := s.logs()
	s.lastBoot = logs.Tail(string(bootcontrol.Slot(s.boot.Slot).Other()))
}

func (s *system) logs() trial.Logs {
	return trial.Logs{Init: filepath.Join(config.LogDir, "init.log"), Node: filepath.Join(config.LogDir, "node.log")}
}

// begin puts something on trial; the first call starts the gate.
func (s *system) begin(ctx context.Context, what func(*underTrial)) {
	s.mu.Lock()
	t := s.trial
	first := t == nil
	if first {
		t = &underTrial{gate: trial.NewGate(s.gateLimit(), s.conditions()...)}
		s.trial = t
	}
	what(t)
	s.mu.Unlock()
	if !first {
		return
	}
	if err := sysctl.Apply("/proc/sys", strict); err != nil {
		s.con.Logf("trial: %v", err)
	}
	s.background(ctx, "trial", func() { s.watchTrial(ctx, t) })
}

// gateLimit is the limit of the kernel command line; 0 is the default.
func (s *system) gateLimit() time.Duration {
	text, ok := s.params.Get(gateParam)
	if !ok {
		return 0
	}
	minutes, err := strconv.Atoi(text)
	if err != nil || minutes < 1 || minutes > int(gateMost/time.Minute) {
		s.con.Printf("%s=%q: want minutes from 1 to %d; it is %v", gateParam, text, int(gateMost/time.Minute), trial.DefaultLimit)
		return 0
	}
	return time.Duration(minutes) * time.Minute
}

// conditions are what must hold besides the node's health.
func (s *system) conditions() []trial.Condition {
	return []trial.Condition{
		{Name: "state partition", Holds: func() error {
			s.mu.Lock()
			up := s.stateUp
			s.mu.Unlock()
			if !up {
				return errors.New("not mounted")
			}
			return s.well.Healthy()
		}},
		{Name: "clock", Holds: func() error {
			if now := time.Now(); now.Before(s.build.Time) {
				return fmt.Errorf("shows %s, before this system was built", now.UTC().Format(time.RFC3339))
			}
			return nil
		}},
		{Name: "network", Holds: s.connected},
		{Name: "machine API", Holds: s.machineServes},
	}
}

// connected returns what is wrong with the network of a system that has to be reached as the one before it was.
func (s *system) connected() error {
	s.mu.Lock()
	net, wanted := s.net, s.trial != nil && s.trial.connected
	s.mu.Unlock()
	if wanted && (net == nil || len(net.Addresses()) == 0) {
		return errors.New("no address, and the system before had one")
	}
	return nil
}

// gate is the gate of this boot, nil without one.
func (s *system) gate() *trial.Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial == nil {
		return nil
	}
	return s.trial.gate
}

// trialEnv tells the node process to say often how it is.
func (s *system) trialEnv() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial == nil || s.trial.result != "" {
		return nil
	}
	return []string{"KEELSON_TRIAL=1"}
}

// watchTrial waits for the gate's word and acts on it.
func (s *system) watchTrial(ctx context.Context, t *underTrial) {
	err := t.gate.Run(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = s.passed(ctx, t)
	}
	if err == nil {
		s.setResult(t, "passed")
		if err := sysctl.Apply("/proc/sys", lenient); err != nil {
			s.con.Logf("trial: %v", err)
		}
		return
	}
	s.setResult(t, "failed: "+err.Error())
	var failed *trial.FailedError
	if !errors.As(err, &failed) {
		// It works, and cannot be kept. The boot loader will go back, or not, at some later boot.
		s.sayUpgrade("%v", err)
		return
	}
	done := make(chan struct{})
	guard.Go(s.con, "trial", func() {
		defer close(done)
		s.failed(t, failed.Reason)
	})
	select {
	case <-done:
	case <-time.After(failLimit):
		s.sayUpgrade("the failure could not be written down within %v", failLimit)
	}
	s.reboot(ctx, "a trial that failed")
}

func (s *system) setResult(t *underTrial, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.result = result
}

func (s *system) passed(ctx context.Context, t *underTrial) (err error) {
	s.mu.Lock()
	upgrade, conf := t.upgrade, t.config
	s.mu.Unlock()
	if conf {
		if err = s.configTrial().Passed(); err == nil {
			s.sayConfig("the new configuration is good")
		}
	}
	if !upgrade {
		return err
	}
	for try := 1; ; try++ {
		perr := s.upgrade.Passed()
		if perr == nil || try == commitTries {
			return errors.Join(err, perr)
		}
		s.con.Printf("upgrade: %v; trying again in %v", perr, commitPause)
		select {
		case <-time.After(commitPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed writes the failure down, and makes the next boot one of what was before.
func (s *system) failed(t *underTrial, reason string) {
	s.mu.Lock()
	upgrade, conf := t.upgrade, t.config
	services := s.services
	log := s.log
	s.mu.Unlock()
	for _, x := range services {
		x.Log.Flush()
	}
	if log != nil {
		log.Flush()
	}
	tail := s.logs().Tail("")
	if upgrade {
		if err := s.upgrade.Failed(reason, tail); err != nil {
			s.sayUpgrade("%v", err)
		}
		return // a configuration that is on trial as well goes on with the old system
	}
	if conf {
		s.sayConfig("the new configuration is undone: %s", reason)
		if err := s.configTrial().Undo(reason, tail); err != nil {
			s.sayConfig("%v", err)
		}
	}
}

// failedSteps names the steps of the boot that failed.
func (s *system) failedSteps() string {
	var names []string
	for _, x := range s.steps.Steps() {
		if x.Error != "" && x.Name != "node" {
			line, _, _ := strings.Cut(x.Error, "\n")
			names = append(names, x.Name+": "+line)
		}
	}
	if len(names) == 0 {
		return "no configuration"
	}
	return strings.Join(names, "; ")
}

func (s *system) configTrial() trial.Config { return trial.Config{Dir: state.Dir} }

func (s *system) sayUpgrade(format string, args ...any) {
	s.tell(control.EventUpgrade, format, args...)
}
func (s *system) sayConfig(format string, args ...any) { s.tell(control.EventConfig, format, args...) }

// tell says something on the console, and as an event.
func (s *system) tell(kind, format string, args ...any) {
	s.con.Printf(format, args...)
	s.events.Add(kind, format, args...)
}

// reboot asks for a reboot, and returns when it has begun.
func (s *system) reboot(ctx context.Context, by string) {
	select {
	case s.requests <- shutdown.Request{Action: shutdown.Reboot, By: by}:
	case <-ctx.Done():
	}
}
