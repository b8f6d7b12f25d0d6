package system

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/screen"
	"github.com/keelson-os/keelson/init/step"
)

// drawScreen keeps the status on the consoles from the moment on that the boot table has been printed, until ctx is done.
func (s *system) drawScreen(ctx context.Context) {
	select {
	case <-s.tablePrinted:
		screen.Run(ctx, s.con, s.screenFacts)
	case <-ctx.Done():
	}
}

// endBootMessages is called when the boot table has been printed; calling it again does nothing.
func (s *system) endBootMessages() { s.tableOnce.Do(func() { close(s.tablePrinted) }) }

func (s *system) screenFacts() screen.Facts {
	f := screen.Facts{Version: s.build.Version, Slot: orUnknown(s.boot.Slot), Load: loadAndMemory(), Uptime: step.SinceKernel(), Health: s.screenHealth()}
	f.Name, _ = os.Hostname()
	s.mu.Lock()
	net := s.net
	s.mu.Unlock()
	if net != nil {
		f.Addresses = net.Addresses()
	}
	return f
}

// screenHealth is one line: what is wrong, what is awaited, or "ready".
func (s *system) screenHealth() string {
	if err := s.well.Healthy(); err != nil {
		return err.Error()
	}
	s.mu.Lock()
	n := s.node
	s.mu.Unlock()
	if n == nil {
		return "the node was not started: see the steps that failed"
	}
	health := "starting"
	switch node, _ := n.report(); {
	case node.Ready && node.Reason != "":
		health = node.Reason
	case node.Ready:
		health = "ready"
	case node.Status != "":
		health += ": " + node.Status
	}
	if t := s.trialStatus(); t != nil && t.Result == "" {
		health += " (" + t.Kind + " on trial)"
	}
	return health
}

// loadAndMemory is the load of the last minute and the memory in use.
func loadAndMemory() string {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return ""
	}
	const fixed = 1 << 16 // loads are fixed-point numbers: sysinfo(2)
	unit := uint64(i.Unit)
	return fmt.Sprintf("%.2f  memory free %d of %d MiB", float64(i.Loads[0])/fixed, i.Freeram*unit>>20, i.Totalram*unit>>20)
}
