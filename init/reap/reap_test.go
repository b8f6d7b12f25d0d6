package reap

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOwnExitCodesAreNotStolenAndOrphansAreReaped makes this process the reaper of its
// descendants, as PID 1 is, and lets children with and without orphans end in a crowd.
func TestOwnExitCodesAreNotStolenAndOrphansAreReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var r Reaper
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		r.Run(ctx)
		close(ended)
	}()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			// The inner shell outlives the outer one and becomes our child.
			out, err := r.Output(exec.Command("sh", "-c", fmt.Sprintf("(sleep 0.2; exit 9) >/dev/null 2>&1 & echo out; exit %d", i)))
			code := 0
			if e, ok := err.(*exec.ExitError); ok {
				code = e.ExitCode()
			} else if err != nil {
				t.Error(err)
			}
			if code != i || string(out) != "out\n" {
				t.Errorf("exit code %d, output %q; want %d, %q", code, out, i, "out\n")
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for len(children(t)) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // the orphans' end is nobody's event here
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("children %v were not reaped", left)
	}
	cancel()
	<-ended
}

func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

func TestOutputIsBounded(t *testing.T) {
	var r Reaper
	out, err := r.Output(exec.Command("head", "-c", "1000000", "/dev/zero"))
	if err != nil || len(out) != outputMax {
		t.Errorf("Output = %d bytes, %v, want %d", len(out), err, outputMax)
	}
}
