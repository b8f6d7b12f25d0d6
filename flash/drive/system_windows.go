package drive

import (
	"context"
	"fmt"
	"strings"
)

func list(ctx context.Context) ([]Disk, error) {
	out, err := output(ctx, "powershell.exe", "-NoProfile", "-NonInteractive", "-EncodedCommand", encodedCommand(getDiskScript))
	if err != nil {
		return nil, fmt.Errorf("PowerShell's Get-Disk: %w", err)
	}
	return getDisk(out)
}

// isDevicePath accepts \\.\PhysicalDrive2, and PhysicalDrive2 alone.
func isDevicePath(path string) bool {
	return strings.HasPrefix(path, `\\.\`) || strings.HasPrefix(strings.ToLower(path), "physicaldrive")
}

func find(ctx context.Context, path string) (*Disk, error) {
	if !strings.HasPrefix(path, `\\.\`) {
		path = `\\.\` + path
	}
	disks, err := list(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		if strings.EqualFold(d.Path, path) {
			return &d, nil
		}
	}
	return nil, fmt.Errorf("%s: %w; give a whole disk, such as \\\\.\\PhysicalDrive2", path, ErrNotFound)
}

// Unmount does nothing: the volumes are locked and dismounted when the disk is opened, and
// stay so until it is closed.
func (d *Disk) Unmount(context.Context) error { return nil }

// Eject does nothing: Windows writes nothing behind to a disk without a mounted volume.
func (d *Disk) Eject(context.Context) error { return nil }
