package system

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/keelson-os/keelson/init/clock"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/shutdown"
	"github.com/keelson-os/keelson/init/step"
)

// serveControl answers the machine API until the machine is off.
func (s *system) serveControl() {
	l, err := control.Listen(control.Path)
	if err != nil {
		s.con.Printf("control socket: %v; the machine API will not work", err)
		return
	}
	server := control.Server{Status: s.status, Trial: s.trialStatus, Restart: s.restart, End: s.askEnd, Events: &s.events}
	if err := server.Serve(context.Background(), l); err != nil {
		s.con.Printf("control socket: %v", err)
	}
}

// status is what PID 1 knows.
func (s *system) status() control.Status {
	name, _ := os.Hostname()
	st := control.Status{
		Version: s.build.Version, Hostname: name, Slot: s.boot.Slot, RootHash: s.boot.RootHash, Disk: s.boot.Disk,
		Uptime: step.SinceKernel(), Addresses: []string{}, Services: []control.Service{}, Trial: s.trialStatus(),
	}
	if err := s.well.Healthy(); err != nil {
		st.Health = err.Error()
	}
	st.Clock.Servers = []string{}
	s.mu.Lock()
	cfg, net, ntp, n, dog := s.cfg, s.net, s.ntp, s.node, s.dog
	services := s.services
	st.MachineID, st.StateUp, st.Configured, st.Ending, st.Clock.Trusted = s.machineID, s.stateUp, s.cfg != nil, s.ending, s.trusted
	s.mu.Unlock()
	if net != nil {
		st.Addresses = net.Addresses()
	}
	if cfg != nil && net != nil && len(cfg.Clock.Servers) > 0 {
		st.Clock.Servers = clock.Servers(cfg.Clock.Servers, net.NTPServers())
	}
	st.Clock.Synchronised = ntp != nil && ntp.Synced()
	if dog != nil {
		st.Watchdog = dog.String()
	}
	for _, x := range services {
		i := x.Info()
		st.Services = append(st.Services, control.Service{
			Name: x.Name, PID: i.PID, Ready: i.Ready, Status: i.Status, Since: i.Since, Restarts: i.Restarts,
			LastExit: i.LastExit, Log: x.Log.Path(),
		})
	}
	st.Steps = s.steps.Steps()
	if n != nil {
		st.Node, st.Steps = n.report()
	}
	return st
}

// report is the node in the status, and the boot table.
func (n *node) report() (control.Node, []step.Step) {
	i := n.service.Info()
	n.mu.Lock()
	defer n.mu.Unlock()
	return control.Node{
		Started: true, Ready: i.Ready, Status: i.Status, Healthy: i.Ready && n.health.OK, Reason: n.health.Reason, Heard: n.heard,
		Restarts: i.Restarts,
	}, n.table()
}

// trialStatus is the trial of this boot, nil without one.
func (s *system) trialStatus() *control.Trial {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial == nil {
		return nil
	}
	r := s.trial.gate.Report()
	t := &control.Trial{
		Kind: control.TrialConfig, ID: "config", Began: r.Began.UTC(), Left: r.Left, Waiting: r.Waiting, Since: r.Since, Result: s.trial.result,
	}
	if s.trial.upgrade {
		t.Kind, t.ID, t.Slot = control.TrialUpgrade, s.trial.id, s.boot.Slot
	}
	if t.Result != "" {
		t.Left, t.Waiting = 0, ""
	}
	return t
}

// restart begins the restart of a service.
func (s *system) restart(name, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, x := range s.services {
		if x.Name == name {
			s.events.Add(control.EventService, "%s: restart, asked by %s", name, by)
			x.Restart(by)
			return nil
		}
		names = append(names, x.Name)
	}
	sort.Strings(names)
	return fmt.Errorf("service %q does not run here; there are: %s", name, strings.Join(names, ", "))
}

// askEnd begins the end of the machine.
func (s *system) askEnd(op control.Op, what, by string) error {
	r := shutdown.Request{Action: shutdown.Reboot, By: by, Wipe: what}
	if op == control.OpPowerOff || what == control.ResetAll {
		r.Action = shutdown.PowerOff
	}
	s.mu.Lock()
	ending := s.ending
	if ending == "" {
		s.ending = r.Action.String()
	}
	s.mu.Unlock()
	if ending != "" {
		return fmt.Errorf("%s is under way already", ending)
	}
	go func() { s.requests <- r }() // the answer goes out first
	return nil
}

// end notes that the end has begun.
func (s *system) end(r shutdown.Request) {
	s.mu.Lock()
	s.ending = r.Action.String()
	s.mu.Unlock()
	if r.Wipe != "" {
		s.events.Add(control.EventShutdown, "reset (%s), then %s: asked by %s", r.Wipe, r.Action, r.By)
		return
	}
	s.events.Add(control.EventShutdown, "%s: asked by %s", r.Action, r.By)
}

func (s *system) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending != ""
}
