//go:build !linux && !darwin && !windows

package drive

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func list(context.Context) ([]Disk, error) {
	return nil, fmt.Errorf("disks on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func isDevicePath(string) bool { return false }

func find(_ context.Context, path string) (*Disk, error) {
	return nil, fmt.Errorf("%s: disks on %s: %w", path, runtime.GOOS, errors.ErrUnsupported)
}

// Unmount is only for disks.
func (d *Disk) Unmount(context.Context) error { return errors.ErrUnsupported }

// Eject is only for disks.
func (d *Disk) Eject(context.Context) error { return errors.ErrUnsupported }
