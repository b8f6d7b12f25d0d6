package system

import (
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/health"
	"github.com/keelson-os/keelson/init/shutdown"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/supervise"
	"github.com/keelson-os/keelson/init/trial"
)

func newSystem() *system {
	s := &system{requests: make(chan shutdown.Request), fat: make(chan struct{}, 1), steps: step.NewTable(nil)}
	s.well = health.New(s.writable)
	return s
}

func TestTheGatesLimitIsMinutesOfTheCommandLine(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"quiet": 0, "keelson.gate=3": 3 * time.Minute, "keelson.gate=1440": 24 * time.Hour,
		"keelson.gate=": 0, "keelson.gate=0": 0, "keelson.gate=-1": 0, "keelson.gate=1441": 0, "keelson.gate=3m": 0,
	} {
		s := newSystem()
		s.params = cmdline.Parse(text)
		if got := s.gateLimit(); got != want {
			t.Errorf("gateLimit with %q = %v, want %v", text, got, want)
		}
	}
}

func TestTheSecondWishToEndIsRefused(t *testing.T) {
	s := newSystem()
	if err := s.askEnd(control.OpReset, control.ResetAll, "me"); err != nil {
		t.Fatal(err)
	}
	if r := <-s.requests; r != (shutdown.Request{Action: shutdown.PowerOff, By: "me", Wipe: control.ResetAll}) {
		t.Errorf("request %+v", r)
	}
	err := s.askEnd(control.OpReboot, "", "you")
	if err == nil || !strings.Contains(err.Error(), "power off is under way") {
		t.Errorf("second wish: %v", err)
	}
	if !s.isEnding() || s.status().Ending != "power off" {
		t.Errorf("ending %v, status %q", s.isEnding(), s.status().Ending)
	}
}

func TestOnlyServicesThatRunAreRestarted(t *testing.T) {
	s := newSystem()
	s.services = []*service{{&supervise.Service{Name: "node"}, nil}, {&supervise.Service{Name: "machined"}, nil}}
	if err := s.restart("node", "me"); err != nil {
		t.Error(err)
	}
	if err := s.restart("sshd", "me"); err == nil || !strings.Contains(err.Error(), "machined, node") {
		t.Errorf("restart(sshd) = %v", err)
	}
	if events, _ := s.events.After(0); len(events) != 1 || events[0].Text != "node: restart, asked by me" {
		t.Errorf("events %+v", events)
	}
}

func TestTheFATPartitionIsOnesAlone(t *testing.T) {
	s := newSystem()
	release, err := s.takeFAT(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.takeFAT(time.Millisecond); err == nil {
		t.Error("it is taken twice")
	}
	release()
	if _, err := s.takeFAT(time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestTheTrialsEnvironmentEndsWithIt(t *testing.T) {
	s := newSystem()
	if env := s.trialEnv(); env != nil || s.trialStatus() != nil || s.gate() != nil {
		t.Errorf("without a trial: %q", env)
	}
	s.boot.Slot = "b"
	s.trial = &underTrial{gate: trial.NewGate(0, s.conditions()...), upgrade: true, id: "u1"}
	if env := s.trialEnv(); len(env) != 1 || env[0] != "KEELSON_TRIAL=1" {
		t.Errorf("in a trial: %q", env)
	}
	if st := s.trialStatus(); st.Kind != control.TrialUpgrade || st.ID != "u1" || st.Slot != "b" || st.Left <= 0 {
		t.Errorf("trial %+v", st)
	}
	s.setResult(s.trial, "passed")
	if env := s.trialEnv(); env != nil || s.trialStatus().Left != 0 || s.trialStatus().Result != "passed" {
		t.Errorf("after it: %q, %+v", env, s.trialStatus())
	}
}

func TestWithoutAStatePartitionNothingIsGood(t *testing.T) {
	s := newSystem()
	for _, c := range s.conditions() {
		if err := c.Holds(); (err == nil) != (c.Name != "state partition") {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	s.build.Time = time.Now().Add(time.Hour)
	if err := s.conditions()[1].Holds(); err == nil {
		t.Error("a clock before the build's time holds")
	}
}

func TestASystemThatCannotBeReachedIsNotGood(t *testing.T) {
	s := newSystem()
	s.trial = &underTrial{}
	if err := s.connected(); err != nil {
		t.Errorf("the system before had no address either: %v", err)
	}
	s.trial.connected = true
	if err := s.connected(); err == nil {
		t.Error("the system before had an address, this one has none: nil")
	}
	s.cfg = &config.Config{Secrets: &config.Secrets{}}
	if err := s.machineServes(); err == nil {
		t.Error("no machine API was started: nil")
	}
	s.services = []*service{{&supervise.Service{Name: machineName}, nil}}
	if err := s.machineServes(); err == nil {
		t.Error("a machine API that is not ready: nil")
	}
}
