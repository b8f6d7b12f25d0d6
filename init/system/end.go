package system

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/guard"
	"github.com/keelson-os/keelson/init/shutdown"
	"github.com/keelson-os/keelson/init/state"
	"github.com/keelson-os/keelson/init/wipe"
	"github.com/keelson-os/keelson/upgrade/record"
)

const (
	// keysLimit is how long the files with keys may take to be overwritten.
	keysLimit = 15 * time.Second
	// wipeStuck is how long a disk that is being wiped may be silent: a card may take minutes to erase a part.
	wipeStuck = 15 * time.Minute
)

// secret are the files, and the folders with files, that a reset overwrites before anything else, as patterns.
var secret = []string{
	state.Dir + "/config*", state.Dir + "/etc-rancher", state.Dir + "/machine*",
	config.StateDir + "/k3s/server/tls", config.StateDir + "/k3s/server/cred", config.StateDir + "/k3s/server/*token*",
	config.StateDir + "/k3s/agent/*.*", config.StateDir + "/k3s/agent/etc",
	config.StateDir + "/k3s/server/db", record.SnapshotDir,
}

// takeDown ends the machine.
func (s *system) takeDown(r shutdown.Request) {
	s.mu.Lock()
	stateUp, dog := s.stateUp, s.dog
	s.mu.Unlock()
	q := shutdown.Sequence{Console: s.con, StopMachine: s.stopService(machineName)}
	snapshot := make(chan struct{})
	stopNode := s.stopService("node")
	if stopNode != nil {
		q.StopNode = func() {
			stopNode()
			// Beside the end of the pods, which takes longer.
			guard.Go(s.con, "snapshot", func() {
				defer close(snapshot)
				s.snapshot(r)
			})
		}
	}
	q.Save = func() {
		if !stateUp {
			return
		}
		if stopNode != nil {
			<-snapshot
		}
		s.save()
		if r.Wipe != "" {
			s.wipeKeys()
		}
	}
	var progress atomic.Int64 // time of the last progress of a wipe, in nanoseconds since 1970
	if r.Wipe != "" {
		q.Wipe = func() error {
			progress.Store(time.Now().UnixNano())
			return s.wipe(r.Wipe, func() { progress.Store(time.Now().UnixNano()) })
		}
	}
	if dog != nil {
		// Fed once more: the limit of the shutdown is longer than a small watchdog's
		// timeout, so it goes on being fed until the end, but not beyond the limit: then
		// it is what ends a machine that even the limit could not. A wipe takes as long as
		// it gets on.
		limit := time.Now().Add(shutdown.Limit)
		feeding, cancel := context.WithCancel(context.Background())
		alive := func() error {
			now := time.Now()
			if last := progress.Load(); now.After(limit) && now.Sub(time.Unix(0, last)) > wipeStuck {
				return fmt.Errorf("the end of the machine takes longer than %v", shutdown.Limit)
			}
			return nil
		}
		guard.Go(s.con, "watchdog", func() { dog.Run(feeding, alive, s.con.Printf) })
		q.StopWatchdog = func() {
			cancel()
			dog.Close()
		}
	}
	q.Run(r)
}

// snapshot copies the datastore if an upgrade is armed. Without it, as after a power cut, the trial's first boot does.
func (s *system) snapshot(r shutdown.Request) {
	if r.Wipe != "" {
		return
	}
	began := time.Now()
	made, err := s.upgrade.BeforeReboot()
	switch {
	case err != nil:
		s.con.Printf("snapshot of the datastore: %v; the next boot tries again", err)
	case made:
		s.con.Printf("snapshot of the datastore made in %.1f s", time.Since(began).Seconds())
	}
}

// wipeKeys overwrites the files with keys while the state partition is mounted.
func (s *system) wipeKeys() {
	ctx, cancel := context.WithTimeout(context.Background(), keysLimit)
	defer cancel()
	var paths []string
	for _, pattern := range secret {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		paths = append(paths, found...)
	}
	n, err := wipe.Files(ctx, paths...)
	s.con.Printf("reset: %d files with keys and data overwritten", n)
	if err != nil {
		s.con.Printf("reset: %v; the whole partition follows", err)
	}
}

// wipe wipes what was asked for.
func (s *system) wipe(what string, alive func()) error {
	disk, err := wipe.Open("/dev/"+s.boot.Disk, func(f string, args ...any) { s.con.Printf("reset: "+f, args...) }, alive)
	if err != nil {
		return err
	}
	defer disk.Close()
	if what != control.ResetAll {
		s.con.Printf("reset: wiping the state partition; the next boot makes a new one and wants a configuration on the FAT partition")
		return disk.State()
	}
	s.con.Printf("reset: wiping everything on %s; it will not boot again", s.boot.Disk)
	// Our own program is on the root that is wiped.
	if err := unix.Mlockall(unix.MCL_CURRENT); err != nil {
		return fmt.Errorf("keep PID 1 in memory: %w", err)
	}
	return disk.All(s.boot.Slot)
}
