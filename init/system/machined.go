package system

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/supervise"
)

const (
	machineProgram = "/bin/machined"
	machineName    = "machined"
	machineSocket  = "/run/keelson/machined-notify"
	// machineScore is the machine API's oom_score_adj: it has to tell why the node died.
	machineScore = -998
	// machineStop is how long it may take to end.
	machineStop = 5 * time.Second
	// machineLogSize and machineLogKeep bound its log: bytes per file and older files.
	machineLogSize = 1 << 20
	machineLogKeep = 2
)

// startMachine starts the machine API. It needs the configuration, whose machine CA it serves, and the host name; it
// does not wait for the network, and whatever becomes of the node it stays.
func (s *system) startMachine(ctx context.Context) (string, error) {
	if !s.stateUp || s.cfg == nil {
		return "skipped: no configuration", nil
	}
	if s.cfg.Secrets == nil {
		return "skipped: an agent has no machine CA yet", nil
	}
	if _, err := os.Stat(machineProgram); err != nil {
		return "", step.Advise(fmt.Errorf("the machine API: %w", err), "the node goes on without it; write the image again")
	}
	// It ends late in a shutdown, and not with ctx.
	s.keep(context.WithoutCancel(ctx), &supervise.Service{
		Name:      machineName,
		Path:      machineProgram,
		Env:       []string{"PATH=/usr/bin:/usr/sbin", "HOME=/root"},
		Cgroup:    mount.MachineCgroup,
		OOMScore:  machineScore,
		Socket:    machineSocket,
		StopLimit: machineStop,
		Log:       logfile.New(config.LogDir, machineName, machineLogSize, machineLogKeep),
		Console:   s.con,
		Reaper:    &s.reaper,
		Exited:    func(reason string) { s.events.Add(control.EventService, "%s: %s", machineName, reason) },
	})
	return "", nil
}

// machineServes returns what is wrong with the machine API: a system without it could not be upgraded again.
func (s *system) machineServes() error {
	s.mu.Lock()
	wanted, services := s.cfg != nil && s.cfg.Secrets != nil, s.services // as startMachine decides
	s.mu.Unlock()
	if !wanted {
		return nil
	}
	for _, x := range services {
		if x.Name == machineName {
			if i := x.Info(); !i.Ready {
				return fmt.Errorf("it does not serve; its last run: %s", cmp.Or(i.LastExit, "goes on"))
			}
			return nil
		}
	}
	return errors.New("it was not started")
}
