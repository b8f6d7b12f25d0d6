// Package memory tunes the Go runtime: quick at the start, small afterwards.
//
// Anonymous memory of an idle node with four pods, 30 s after the start: 261 MB with
// GOGC 100, 208 MB with 50, 191 MB with 30, at the same idle CPU time.
package memory

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// idlePercent is GOGC once the node is ready.
const idlePercent = 30

// Start bounds the heap to half of the machine's memory: the start makes much garbage,
// and collecting it early costs time only where memory is scarce. The bound is soft.
func Start() error {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("sysinfo: %w", err)
	}
	debug.SetMemoryLimit(int64(info.Totalram) * int64(info.Unit) / 2)
	return nil
}

// Settle is called when the start is over. It gives its garbage back to the system, which
// the runtime would do only after minutes.
func Settle() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(idlePercent)
	}
	debug.FreeOSMemory()
}
