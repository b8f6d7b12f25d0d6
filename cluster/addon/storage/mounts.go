package storage

import (
	"fmt"

	"github.com/moby/sys/mountinfo"
)

// mountsIn returns the mount points at and below path, in this process's mount namespace,
// which is that of PID 1. path has no links. A pod's own mounts are in the pod's namespace
// and end with it.
func mountsIn(path string) ([]string, error) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return nil, fmt.Errorf("mounts in %s: %w", path, err)
	}
	var points []string
	for _, i := range infos {
		points = append(points, i.Mountpoint)
	}
	return points, nil
}
