// Command broken stands in for a program of a node in a bundle that must not be kept. What it does is in mode, which the
// linker sets:
//
//	exit    ends at once
//	sleep   never gets ready, and says nothing
//	freeze  freezes PID 1, so that nobody feeds the watchdog any more
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	// The builder reads the version of Kubernetes from the node's program, and a node takes no bundle without one.
	_ "k8s.io/kubernetes/pkg/cluster/ports"
)

var mode = "exit"

func main() {
	switch mode {
	case "exit":
		fmt.Println("broken: exit")
		return
	case "freeze":
		const group = "/sys/fs/cgroup/frozen"
		for _, step := range []func() error{
			func() error { return os.MkdirAll(group, 0o755) },
			func() error { return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("1"), 0) },
			func() error { return os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("1"), 0) },
		} {
			if err := step(); err != nil {
				fmt.Println("broken:", err)
			}
		}
	}
	fmt.Println("broken:", mode)
	for {
		time.Sleep(time.Hour)
	}
}
