package system

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keelson-os/keelson/config"
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
	// readyLimit is when the boot table is printed although the node is not ready.
	readyLimit = 10 * time.Minute
)

// startNode needs everything before it. Without a state partition or a configuration
// there is nothing the node could do, so it is not started, and the console has said why.
func (s *system) startNode(ctx context.Context) {
	if !s.stateUp || s.cfg == nil {
		s.steps.Add(step.Step{Name: "node", Error: "not started: see the failed steps"})
		s.steps.Print(s.con)
		s.con.Printf("waiting; the power button or Ctrl-Alt-Del ends this")
		return
	}
	log := logfile.New(config.LogDir, "node", nodeLogSize, nodeLogKeep)
	n := &node{system: s, began: time.Now()}
	service := supervise.Service{
		Name:      "node",
		Path:      nodeProgram,
		Env:       []string{"PATH=/usr/bin:/usr/sbin:/opt/cni/bin", "HOME=/root"},
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
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.mu.Lock()
	s.stopNode = func() {
		cancel()
		<-ended
		log.Close()
	}
	s.mu.Unlock()
	timer := time.AfterFunc(readyLimit, n.late)
	s.background(ctx, "node", func() {
		defer close(ended)
		defer timer.Stop()
		if err := service.Run(running); err != nil {
			s.con.Printf("%v", err)
		}
	})
}

// node follows what the node process says, for the boot table.
type node struct {
	system *system
	began  time.Time

	mu      sync.Mutex
	steps   []step.Step // of this start
	printed bool        // the table, with a failure or without
	ready   bool
	status  string
}

func (n *node) started() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps, n.status = nil, ""
}

func (n *node) notify(m supervise.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		n.steps = append(n.steps, m.Steps...)
	}
	if m.Status != "" {
		n.status = m.Status
	}
	if !m.Ready {
		return
	}
	if n.ready {
		n.system.con.Printf("node ready again")
		return
	}
	n.ready, n.printed = true, true
	n.print(step.Step{Name: "node", Duration: time.Since(n.began)})
	debug.FreeOSMemory()
	n.system.con.Printf("node ready after %.1f s", step.SinceKernel().Seconds())
}

func (n *node) exited(reason string) {
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
	status := n.status
	if status == "" {
		status = "it has not said what it waits for"
	}
	n.print(step.Step{Name: "node", Duration: time.Since(n.began), Error: "not ready yet: " + status})
}

// print writes the machine's steps and the node's.
func (n *node) print(last step.Step) {
	t := step.NewTable(n.system.con)
	t.Add(n.system.steps.Steps()...)
	for _, s := range n.steps {
		s.Name = "node/" + s.Name
		t.Add(s)
	}
	t.Add(last)
	t.Print(n.system.con)
}
