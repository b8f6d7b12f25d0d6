package shutdown

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Action is how a shutdown ends.
type Action int

// The actions.
const (
	PowerOff Action = iota
	Reboot
)

func (a Action) String() string {
	if a == Reboot {
		return "reboot"
	}
	return "power off"
}

// Request is somebody's wish to end.
type Request struct {
	Action Action
	By     string
	Wipe   string // "state" or "all": what is wiped on the way; empty: nothing
}

// Signals sends a request for each signal that asks for one, until ctx is done. It also
// makes Ctrl-Alt-Del a signal instead of an instant reset. The signals stay caught after
// ctx: a second one during a shutdown must not end PID 1.
func Signals(ctx context.Context, requests chan<- Request) {
	unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	for {
		var r Request
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			r = Request{Action: PowerOff, By: "SIGTERM"}
			if s == unix.SIGINT {
				r = Request{Action: Reboot, By: "SIGINT or Ctrl-Alt-Del"}
			}
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return
		}
	}
}
