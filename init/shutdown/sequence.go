package shutdown

import (
	"context"
	"sync"
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
	// StopMachine stops the machine API: late, as it is what tells how far the end has come.
	StopMachine func()
	// Save writes what the next boot wants to know, and closes the logs.
	Save func()
	// Wipe wipes what a reset asks for, when nothing is mounted any more. It has no limit. nil:
	// no reset.
	Wipe func() error
	// StopWatchdog is called last of all, so that it ends a sequence that hangs.
	StopWatchdog func()
}

// Run ends the machine. It does not return.
func (s Sequence) Run(r Request) {
	// Whoever is the second waits for the first, for ever: it ends the machine.
	finish := sync.OnceFunc(func() {
		s.wipe()
		s.end(r.Action)
	})
	time.AfterFunc(orderly, func() {
		if s.Wipe != nil {
			s.Console.Printf("not done within %v: the reset goes on without the rest", orderly)
		} else {
			s.Console.Printf("not done within %v: %s now", orderly, r.Action)
		}
		guard.Sync(syncLimit)
		finish()
	})
	s.Console.Printf("%s: asked by %s", r.Action, r.By)
	began := time.Now()
	if s.StopNode != nil {
		s.StopNode()
		s.Console.Printf("node stopped after %.1f s", time.Since(began).Seconds())
	}
	s.stopGroup("pods", mount.PodCgroup, podLimit)
	s.stopGroup("shims", mount.NodeCgroup, shimLimit)
	if s.StopMachine != nil {
		s.StopMachine()
	}
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
	finish()
}

// wipe does what a reset asks for. After an error it leaves some time to read it.
func (s Sequence) wipe() {
	if s.Wipe == nil {
		return
	}
	if err := s.Wipe(); err != nil {
		s.Console.Printf("reset: %v", err)
		s.Console.Printf("  what to do: not everything was wiped; boot and reset again, or destroy the disk")
		time.Sleep(guard.Delay)
	}
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
