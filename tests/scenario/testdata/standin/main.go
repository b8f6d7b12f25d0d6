// Command standin stands in for a program of a node, where a story is about the system around Kubernetes or about a program
// that must not be kept. What it does is in mode, which the linker sets:
//
//	well    gets ready, and is healthy
//	exit    ends at once
//	sleep   never gets ready, and says nothing
//	freeze  freezes PID 1, so that nobody feeds the watchdog any more
//	crash   makes the kernel panic
//
// A configuration with "standin=sleep" in it makes sleep of any but exit, and one with "standin=full" fills the state partition at a
// start, and makes room again at the next. All but exit add their mode to the datastore, one line each time they start, and print what it holds.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	// The builder reads the version of Kubernetes from the node's program, and a node takes no bundle without one.
	_ "k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/keelson-os/keelson/cluster/notify"
	"github.com/keelson-os/keelson/upgrade/record"
)

var mode = "exit"

// every is the time between two words on the health.
const every = 10 * time.Second

func main() {
	if mode == "exit" {
		fmt.Println("standin: exit")
		return
	}
	configured, err := os.ReadFile(record.Dir + "/config/keelson.yaml")
	if err != nil {
		fmt.Println("standin:", err)
		return
	}
	if strings.Contains(string(configured), "standin=sleep") {
		mode = "sleep"
	}
	if err := remember(); err != nil {
		fmt.Println("standin:", err)
		return
	}
	if strings.Contains(string(configured), "standin=full") {
		if err := fill(); err != nil {
			fmt.Println("standin:", err)
			return
		}
	}
	switch mode {
	case "well":
		err = well()
	case "freeze":
		err = freeze()
	case "crash":
		err = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	}
	fmt.Println("standin:", mode, err)
	for {
		time.Sleep(time.Hour)
	}
}

// remember adds the mode to the datastore.
func remember() error {
	file := filepath.Join(record.Datastore, "starts")
	if err := os.MkdirAll(record.Datastore, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, mode); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	all, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fmt.Println("standin: the datastore holds:", strings.Join(strings.Fields(string(all)), " "))
	return nil
}

// fill takes all room that is left on the state partition; where it has done so before, it gives it back.
func fill() error {
	file := filepath.Join(record.Dir, "junk")
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var size int64
	for step := int64(64 << 20); step >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, size, step); {
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case err != nil:
			return errors.Join(err, f.Close())
		default:
			size += step
		}
	}
	fmt.Println("standin: the state partition is full:", size>>20, "MiB")
	return errors.Join(f.Sync(), f.Close())
}

func well() error {
	n, err := notify.FromEnvironment()
	if err != nil {
		return err
	}
	if err := n.Ready(); err != nil {
		return err
	}
	for {
		if err := n.Healthy(""); err != nil {
			return err
		}
		time.Sleep(every)
	}
}

func freeze() error {
	const group = "/sys/fs/cgroup/frozen"
	return errors.Join(os.MkdirAll(group, 0o755),
		os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("1"), 0),
		os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("1"), 0))
}
