package system

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/supervise"
)

const (
	nodeProgram = "/bin/node"
	nodeSocket  = "/run/keelson/notify"
	// nodeScore is the node's oom_score_adj: it dies last of all but PID 1.
	nodeScore = -999
	// nodeStop is how long the node process may take to end.
	nodeStop = 10 * time.Second
	// nodeLogSize and nodeLogKeep bound its log: bytes per file and older files.
	nodeLogSize = 4 << 20
	nodeLogKeep = 3
	// stepsMax bounds how many steps of the node are kept.
	stepsMax = 200
	// readyLimit is when the boot table is printed although the node is not ready.
	readyLimit = 10 * time.Minute
)

// startNode needs everything before it. Without a state partition or a configuration
// there is nothing the node could do, so it is not started, and the console has said why.
func (s *system) startNode(ctx context.Context) {
	if !s.stateUp || s.cfg == nil {
		s.steps.Add(step.Step{Name: "node", Error: "not started: see the failed steps"})
		s.steps.Print(s.con)
		s.gate().Fail("the node process was not started: " + s.failedSteps())
		s.con.Printf("waiting; the power button or Ctrl-Alt-Del ends this")
		s.endBootMessages()
		return
	}
	log := logfile.New(config.LogDir, "node", nodeLogSize, nodeLogKeep)
	n := &node{system: s, began: time.Now()}
	n.service = supervise.Service{
		Name:      "node",
		Path:      nodeProgram,
		Env:       []string{"PATH=/usr/bin:/usr/sbin:/opt/cni/bin", "HOME=/root"},
		MoreEnv:   s.trialEnv,
		Cgroup:    mount.NodeCgroup,
		OOMScore:  nodeScore,
		Socket:    nodeSocket,
		StopLimit: nodeStop,
		Log:       log,
		Console:   s.con,
		Reaper:    &s.reaper,
		Started:   n.started,
		Notify:    n.notify,
		Exited:    n.exited,
	}
	s.mu.Lock()
	s.node = n
	s.mu.Unlock()
	time.AfterFunc(readyLimit, n.late)
	s.keep(ctx, &n.service)
}

// keep keeps a service running until it is stopped (stopService) or ctx is done.
func (s *system) keep(ctx context.Context, x *supervise.Service) {
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.mu.Lock()
	s.services = append(s.services, &service{x, func() {
		cancel()
		<-ended
		x.Log.Close()
	}})
	s.mu.Unlock()
	s.background(ctx, x.Name, func() {
		defer close(ended)
		if err := x.Run(running); err != nil {
			s.con.Printf("%v", err)
			s.events.Add(control.EventService, "%v", err)
		}
	})
}

// stopService returns what stops a service, nil when it was never started.
func (s *system) stopService(name string) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.services {
		if x.Name == name {
			return x.stop
		}
	}
	return nil
}

// node follows what the node process says, for the boot table.
type node struct {
	system  *system
	service supervise.Service
	began   time.Time

	mu      sync.Mutex
	steps   []step.Step // of the start that got ready, or the present one
	last    step.Step   // the table's last line; the zero value: not yet
	printed bool        // the table, with a failure or without
	ready   bool
	health  supervise.Health // of the present run
	heard   time.Time        // when it said so; zero: it has not
}

func (n *node) started() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		n.steps = nil
	}
	n.health, n.heard = supervise.Health{}, time.Time{}
	n.system.gate().Started()
}

func (n *node) notify(m supervise.Message) {
	n.system.gate().Heard(m)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready && len(n.steps) < stepsMax {
		n.steps = append(n.steps, m.Steps...)
	}
	if m.Health != nil {
		n.tellHealth(*m.Health)
	}
	if !m.Ready {
		return
	}
	if n.ready {
		n.system.con.Printf("node ready again")
		n.system.events.Add(control.EventNode, "node ready again")
		return
	}
	n.ready, n.printed = true, true
	n.print(step.Step{Name: "node", Duration: time.Since(n.began)})
	debug.FreeOSMemory()
	n.system.con.Printf("node ready after %.1f s", step.SinceKernel().Seconds())
	n.system.events.Add(control.EventNode, "node ready after %.1f s", step.SinceKernel().Seconds())
}

// tellHealth notes what the node says of itself; a change is an event.
func (n *node) tellHealth(h supervise.Health) {
	switch {
	case h.OK && !n.health.OK:
		n.system.events.Add(control.EventNode, "node healthy")
	case !h.OK && (n.health.OK || n.heard.IsZero()):
		n.system.events.Add(control.EventNode, "node not healthy: %s", h.Reason)
	}
	n.health, n.heard = h, time.Now()
}

func (n *node) exited(reason string) {
	n.system.gate().Exited(reason)
	n.system.events.Add(control.EventService, "node: %s", reason)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.printed {
		n.printed = true
		n.print(step.Step{Name: "node", Duration: time.Since(n.began), Error: reason})
	}
}

func (n *node) late() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.printed {
		return
	}
	n.printed = true
	status := n.service.Info().Status
	if status == "" {
		status = "it has not said what it waits for"
	}
	n.print(step.Step{Name: "node", Duration: time.Since(n.began), Error: "not ready yet: " + status})
}

// print writes the machine's steps and the node's. n.mu must be held.
func (n *node) print(last step.Step) {
	n.last = last
	t := step.NewTable(n.system.con)
	t.Add(n.table()...)
	t.Print(n.system.con)
	n.system.endBootMessages()
}

// table is the whole boot table. n.mu must be held.
func (n *node) table() []step.Step {
	steps := n.system.steps.Steps()
	for _, s := range n.steps {
		s.Name = "node/" + s.Name
		steps = append(steps, s)
	}
	if n.last.Name != "" {
		steps = append(steps, n.last)
	}
	return steps
}
