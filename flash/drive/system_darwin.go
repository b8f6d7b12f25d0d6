package drive

import (
	"context"
	"fmt"
	"strings"
)

// diskutil runs Apple's tool, which every Mac has, and returns what it printed.
func diskutil(ctx context.Context, args ...string) ([]byte, error) {
	out, err := output(ctx, "diskutil", args...)
	if err != nil {
		return nil, fmt.Errorf("diskutil %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

func list(ctx context.Context) ([]Disk, error) {
	out, err := diskutil(ctx, "list", "-plist", "physical")
	if err != nil {
		return nil, err
	}
	disks, err := diskutilList(out)
	if err != nil {
		return nil, err
	}
	for i := range disks {
		out, err := diskutil(ctx, "info", "-plist", disks[i].Path)
		if err != nil {
			return nil, err
		}
		info, _, err := diskutilInfo(out)
		if err != nil {
			return nil, err
		}
		info.Partitions, info.Uses = disks[i].Partitions, append(info.Uses, disks[i].Uses...)
		disks[i] = info
	}
	return markSystem(ctx, disks)
}

// markSystem finds the disk that macOS runs from: its volumes are on a synthesized disk,
// and "diskutil list physical" does not show them.
func markSystem(ctx context.Context, disks []Disk) ([]Disk, error) {
	out, err := diskutil(ctx, "info", "-plist", "/")
	if err != nil {
		return nil, err
	}
	stores, err := diskutilStores(out)
	if err != nil {
		return nil, err
	}
	for i := range disks {
		for _, s := range stores {
			if s == disks[i].Path || strings.HasPrefix(s, disks[i].Path+"s") {
				disks[i].Uses = append(disks[i].Uses, Use{Kind: System, By: "macOS (" + s + ")"})
			}
		}
	}
	return disks, nil
}

func isDevicePath(path string) bool {
	return strings.HasPrefix(path, "/dev/disk") || strings.HasPrefix(path, "/dev/rdisk")
}

func find(ctx context.Context, path string) (*Disk, error) {
	path = strings.Replace(path, "/dev/rdisk", "/dev/disk", 1)
	out, err := diskutil(ctx, "info", "-plist", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotFound, err)
	}
	info, whole, err := diskutilInfo(out)
	if err != nil {
		return nil, err
	}
	want := info.Path
	if whole != "" {
		want = "/dev/" + whole
	}
	disks, err := list(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		if d.Path == want {
			if whole != "" {
				d.Part, d.PartSize = info.Path, info.Size
			}
			return &d, nil
		}
	}
	// A disk image, or another disk that is not a physical one.
	return &info, nil
}

// Unmount unmounts every file system of the disk.
func (d *Disk) Unmount(ctx context.Context) error {
	_, err := diskutil(ctx, "unmountDisk", d.Path)
	return err
}

// Eject lets the disk go: macOS mounts what was written as soon as it is closed.
func (d *Disk) Eject(ctx context.Context) error {
	if !d.Removable {
		return nil
	}
	_, err := diskutil(ctx, "eject", d.Path)
	return err
}
