// Package reap collects the exit codes of processes that nobody in PID 1 waits for: those
// whose parent died and that became PID 1's children, as the shims of pods do when the
// node restarts.
//
// Our own children are started through it, so that it knows whose exit code to leave to
// the goroutine that waits for it.
package reap

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// retry is how soon the reaper looks again when the next zombie is one of our own that
// its waiter has not yet collected.
const retry = 5 * time.Millisecond

// Reaper knows our own children. The zero value is ready.
type Reaper struct {
	mu  sync.RWMutex // held for reading while a child is started and not yet known
	own sync.Map     // pid → struct{}
}

// Start starts cmd. Call Wait with it, and nothing else, to get its exit code.
func (r *Reaper) Start(cmd *exec.Cmd) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	r.own.Store(cmd.Process.Pid, struct{}{})
	return nil
}

// Wait waits for a command that Start started.
func (r *Reaper) Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	r.own.Delete(cmd.Process.Pid)
	return err
}

// Output runs cmd and returns its standard output and error together.
func (r *Reaper) Output(cmd *exec.Cmd) ([]byte, error) {
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := r.Start(cmd); err != nil {
		return nil, err
	}
	err := r.Wait(cmd)
	return out.b, err
}

// outputMax bounds, in bytes, how much of a program's output is kept.
const outputMax = 64 << 10

type output struct{ b []byte }

func (o *output) Write(p []byte) (int, error) {
	if room := outputMax - len(o.b); room > 0 {
		o.b = append(o.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// Run reaps until ctx is done.
func (r *Reaper) Run(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		var again <-chan time.Time
		if r.reap() {
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return
		case <-died:
		case <-again:
		}
	}
}

// reap collects zombies until there is none or the next is our own, which it reports.
func (r *Reaper) reap() (ownPending bool) {
	for {
		pid, ok := r.next()
		if !ok {
			return false
		}
		// A child between fork and Store is not known yet: wait for its Start.
		r.mu.Lock()
		_, own := r.own.Load(pid)
		if !own {
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		r.mu.Unlock()
		if own {
			return true
		}
	}
}

// next returns a zombie without collecting it.
func (r *Reaper) next() (pid int, ok bool) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		pid := siginfoPID(&info)
		return pid, err == nil && pid != 0
	}
}
