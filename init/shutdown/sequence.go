package shutdown

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/console"
	"github.com/keelson-os/keelson/init/guard"
	"github.com/keelson-os/keelson/init/mount"
)

const (
	// Limit is how long the whole may take, from the request until the machine is off.
	Limit = 60 * time.Second
	// orderly is how much of it there is to end in order; then the machine goes off anyway.
	orderly = Limit - syncLimit - flushLimit

	podLimit  = 20 * time.Second
	shimLimit = 3 * time.Second
	// flushLimit is how long the last line may take to get out of a serial port.
	flushLimit = time.Second
	// syncLimit is what is left for the disks when orderly has passed.
	syncLimit = 5 * time.Second
)

// Sequence is what the machine's end needs from the rest of PID 1. Each function may be
// nil.
type Sequence struct {
	Console *console.Console
	// StopNode stops the node process and everything PID 1 does for it; it ends by itself.
	StopNode func()
	// Save writes what the next boot wants to know, and closes the logs.
	Save func()
	// StopWatchdog is called last of all, so that it ends a sequence that hangs.
	StopWatchdog func()
}

// Run ends the machine. It does not return.
func (s Sequence) Run(r Request) {
	time.AfterFunc(orderly, func() {
		s.Console.Printf("not done within %v: %s now", orderly, r.Action)
		guard.Sync(syncLimit)
		s.end(r.Action)
	})
	s.Console.Printf("%s: asked by %s", r.Action, r.By)
	began := time.Now()
	if s.StopNode != nil {
		s.StopNode()
		s.Console.Printf("node stopped after %.1f s", time.Since(began).Seconds())
	}
	s.stopGroup("pods", mount.PodCgroup, podLimit)
	s.stopGroup("shims", mount.NodeCgroup, shimLimit)
	if s.Save != nil {
		s.Save()
	}
	unix.Sync()
	left, err := mount.UnmountAll()
	if err != nil {
		s.Console.Printf("unmount: %v", err)
	}
	for _, target := range left {
		s.Console.Printf("%s is busy and stays mounted; everything was written out", target)
	}
	unix.Sync()
	s.end(r.Action)
}

func (s Sequence) stopGroup(what, dir string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	asked, killed := stopGroup(ctx, dir)
	switch {
	case killed:
		s.Console.Printf("%s: still running after %v; killed", what, limit)
	case asked > 0:
		s.Console.Printf("%s stopped after %.1f s", what, time.Since(began).Seconds())
	}
}

func (s Sequence) end(a Action) {
	s.Console.Printf("%s", a)
	s.Console.Flush(flushLimit)
	if s.StopWatchdog != nil {
		s.StopWatchdog()
	}
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if a == Reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	for {
		unix.Reboot(cmd)
		time.Sleep(time.Second)
	}
}
