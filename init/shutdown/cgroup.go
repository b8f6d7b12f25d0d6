package shutdown

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// emptyEvery is the time between two looks whether a cgroup is empty.
const emptyEvery = 100 * time.Millisecond

// stopGroup sends SIGTERM to every process below a cgroup, waits until it is empty or ctx
// is done, and then kills what is left. It returns how many got the signal and whether
// some had to be killed. A group that does not exist is empty.
func stopGroup(ctx context.Context, dir string) (asked int, killed bool) {
	for _, pid := range processes(dir) {
		if unix.Kill(pid, unix.SIGTERM) == nil {
			asked++
		}
	}
	if waitEmpty(ctx, dir) {
		return asked, false
	}
	os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	waitEmpty(end, dir)
	return asked, true
}

func waitEmpty(ctx context.Context, dir string) bool {
	tick := time.NewTicker(emptyEvery)
	defer tick.Stop()
	for populated(dir) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// populated reads cgroup.events, which counts the groups below as well.
func populated(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return err == nil && strings.Contains(string(b), "populated 1")
}

// processes lists the process ids in a cgroup and all below it.
func processes(dir string) []int {
	var pids []int
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a pod that ends while we look
			}
			return err
		}
		b, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for s := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(s); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}
