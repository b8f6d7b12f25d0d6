package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Cgroup is where cgroup2 is mounted. Below it PID 1 sits in InitCgroup, the node in
// NodeCgroup and the machine API in MachineCgroup, because a group whose controllers are
// handed down may hold no process itself; the kubelet makes "kubepods" beside them.
const (
	Cgroup        = "/sys/fs/cgroup"
	InitCgroup    = Cgroup + "/init"
	NodeCgroup    = Cgroup + "/node"
	MachineCgroup = Cgroup + "/machine"
	PodCgroup     = Cgroup + "/kubepods"
)

// Cgroups makes the groups of PID 1 and its services, moves PID 1 into its own and hands every
// controller down.
func Cgroups() error {
	for _, dir := range []string{InitCgroup, NodeCgroup, MachineCgroup} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(InitCgroup, "cgroup.procs"), []byte("1"), 0); err != nil {
		return fmt.Errorf("move PID 1 into %s: %w", InitCgroup, err)
	}
	all, err := os.ReadFile(filepath.Join(Cgroup, "cgroup.controllers"))
	if err != nil {
		return err
	}
	// One write each: one write of all fails as a whole for a single bad controller.
	var errs []error
	for name := range strings.FieldsSeq(string(all)) {
		err := os.WriteFile(filepath.Join(Cgroup, "cgroup.subtree_control"), []byte("+"+name), 0)
		if err != nil {
			errs = append(errs, fmt.Errorf("enable cgroup controller %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
