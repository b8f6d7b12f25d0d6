package api

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"github.com/keelson-os/keelson/init/control"
	trials "github.com/keelson-os/keelson/init/trial"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/record"
)

// askLimit is how long PID 1 may take to answer.
const askLimit = 5 * time.Second

// pid1 asks PID 1 for its status.
func (s *Server) pid1(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return s.Control.Status(ctx)
}

// version needs nobody's answer.
func (s *Server) version() machine.Version {
	return machine.Version{
		API: machine.APIVersion, Node: s.Places.Roots.Hostname(),
		Version: s.System.Version, Serial: s.System.Serial, Board: s.System.Board, Arch: runtime.GOARCH,
		Kubernetes: s.System.Kubernetes, Kernel: s.Places.Roots.Kernel(), Slot: s.Boot.Slot,
	}
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request, _ caller) error {
	writeJSON(w, http.StatusOK, s.version())
	return nil
}

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request, _ caller) error {
	writeJSON(w, http.StatusOK, s.status(r.Context()))
	return nil
}

// status gathers what can be known. A part that fails is a problem in the answer: it is asked when something is wrong.
func (s *Server) status(ctx context.Context) machine.Status {
	roots := s.Places.Roots
	st := machine.Status{
		Version: s.version(), Role: string(s.Config.Role), Time: s.Now().UTC(), Uptime: machine.SecondsOf(roots.Uptime()),
		CPUs: roots.CPUs(), Load: roots.Load(), Temperatures: roots.Temperatures(), Addresses: []string{}, Steps: []machine.Step{},
	}
	problem := func(what string, err error) {
		if err != nil {
			st.Problems = append(st.Problems, what+": "+err.Error())
		}
	}
	var err error
	st.Memory, err = roots.Memory()
	problem("memory", err)
	var ok bool
	if st.Disk, ok = roots.Space(s.Places.State); !ok {
		st.Problems = append(st.Problems, "disk: the state partition is not mounted")
	}
	st.Boot, st.Next, err = s.Slots.Boot()
	problem("boot state", err)
	rec, err := record.Load(s.Places.Record)
	problem("record of upgrades", err)
	st.MinimumSerial = max(s.System.MinimumSerial, rec.MinimumSerial)
	st.Upgrade = attempt(rec.Attempt)
	undone, err := trials.Config{Dir: filepath.Dir(s.Places.Config)}.LastUndone()
	problem("configuration", err)
	if undone != nil {
		st.ConfigUndone = &machine.Undone{Time: undone.Time, Reason: undone.Reason, Tail: undone.Tail}
	}
	p, err := s.pid1(ctx)
	problem("PID 1", err)
	if err != nil {
		st.Health = machine.Health{Reason: "PID 1 does not answer", Node: machine.NodeNotStarted}
		return st
	}
	st.MachineID, st.Ending, st.Watchdog = p.MachineID, p.Ending, p.Watchdog
	st.Addresses = append(st.Addresses, p.Addresses...)
	for _, x := range p.Steps {
		st.Steps = append(st.Steps, machine.Step{Name: x.Name, Duration: machine.SecondsOf(x.Duration), Error: x.Error, Note: x.Note})
	}
	st.Trial = trial(p.Trial)
	st.Health = health(p)
	return st
}

// health is the machine's and the node's.
func health(p control.Status) machine.Health {
	h := machine.Health{Heard: p.Node.Heard}
	switch {
	case !p.Node.Started:
		h.Node = machine.NodeNotStarted
	case !p.Node.Ready:
		h.Node = machine.NodeStarting
	case !p.Node.Healthy:
		h.Node = machine.NodeUnhealthy
	default:
		h.Node = machine.NodeReady
	}
	switch {
	case p.Health != "":
		h.Reason = p.Health
	case !p.StateUp:
		h.Reason = "the state partition is not mounted"
	case !p.Configured:
		h.Reason = "no configuration is in force"
	case h.Node == machine.NodeNotStarted:
		h.Reason = "the node process was not started"
	case h.Node == machine.NodeStarting:
		h.Reason = "the node process is starting"
		if p.Node.Status != "" {
			h.Reason += ": " + p.Node.Status
		}
	case h.Node == machine.NodeUnhealthy:
		h.Reason = "the node is not healthy"
		if p.Node.Reason != "" {
			h.Reason += ": " + p.Node.Reason
		}
	default:
		h.OK = true
	}
	return h
}

func trial(t *control.Trial) *machine.Trial {
	if t == nil {
		return nil
	}
	return &machine.Trial{
		Kind: t.Kind, ID: t.ID, Slot: t.Slot, Began: t.Began, Left: machine.SecondsOf(t.Left), Waiting: t.Waiting, Since: t.Since, Result: t.Result,
	}
}

func attempt(a *record.Attempt) *machine.Attempt {
	if a == nil {
		return nil
	}
	system := func(s record.System) machine.System {
		return machine.System{Slot: s.Slot, Version: s.Version, Serial: s.Serial, RootHash: s.RootHash}
	}
	return &machine.Attempt{
		ID: a.ID, From: system(a.From), To: system(a.To), State: string(a.State), Tries: a.Tries, Reason: a.Reason, Tail: a.Tail,
		Panic: a.Panic, Started: a.Started, Armed: a.Armed, Finished: a.Finished,
	}
}

func (s *Server) getServices(w http.ResponseWriter, r *http.Request, _ caller) error {
	list, err := s.services(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) services(ctx context.Context) ([]machine.Service, error) {
	p, err := s.pid1(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	list := []machine.Service{}
	for _, x := range p.Services {
		list = append(list, machine.Service{
			Name: x.Name, PID: x.PID, Ready: x.Ready, Status: x.Status, Since: x.Since, Restarts: x.Restarts, LastExit: x.LastExit,
		})
	}
	return list, nil
}

// unavailable is an error of PID 1's socket.
func unavailable(err error) error {
	return refuse(http.StatusServiceUnavailable, "PID 1: %v", err)
}

func (s *Server) getProcesses(w http.ResponseWriter, _ *http.Request, _ caller) error {
	list, err := s.Places.Roots.Processes(s.redactor().Line)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) getDisks(w http.ResponseWriter, _ *http.Request, _ caller) error {
	list, err := s.Places.Roots.Disks(s.Boot.Disk, s.Boot.Part)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (s *Server) getNetwork(w http.ResponseWriter, _ *http.Request, _ caller) error {
	n, err := s.Places.Roots.Network(s.Places.Resolv)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, n)
	return nil
}

func (s *Server) getTime(w http.ResponseWriter, r *http.Request, _ caller) error {
	t, err := s.time(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, t)
	return nil
}

func (s *Server) time(ctx context.Context) (machine.Time, error) {
	t := machine.Time{Servers: []string{}}
	if err := s.Places.Roots.Clock(&t); err != nil {
		return t, fmt.Errorf("clock: %w", err)
	}
	p, err := s.pid1(ctx)
	if err != nil {
		return t, unavailable(err)
	}
	t.Synchronised, t.Trusted = p.Clock.Synchronised, p.Clock.Trusted
	t.Servers = append(t.Servers, p.Clock.Servers...)
	return t, nil
}
