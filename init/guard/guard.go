// Package guard keeps PID 1 from exiting, which would panic the kernel before anybody
// could read why: a goroutine that panics or a start that cannot go on prints the reason,
// writes everything out and reboots after a while.
package guard

import (
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/console"
)

// Delay is how long a last message stays on the console before the machine reboots.
const Delay = 10 * time.Second

// syncLimit bounds the wait for a disk that does not answer any more.
const syncLimit = 10 * time.Second

// Go runs f in a goroutine under Recover.
func Go(con *console.Console, name string, f func()) {
	go func() {
		defer Recover(con, name)
		f()
	}()
}

// Recover, deferred, turns a panic into a message and a reboot. name says what panicked.
func Recover(con *console.Console, name string) {
	v := recover()
	if v == nil {
		return
	}
	con.Printf("BUG: %s: panic: %v\n%s", name, v, debug.Stack())
	Reboot(con, Delay)
}

// Reboot writes everything out and restarts the machine after delay. It does not return.
func Reboot(con *console.Console, delay time.Duration) {
	con.Printf("reboot in %v", delay)
	time.Sleep(delay)
	Sync(syncLimit)
	con.Flush(time.Second)
	for {
		unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		time.Sleep(time.Second)
	}
}

// Sync writes every file system out, but waits at most limit.
func Sync(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
