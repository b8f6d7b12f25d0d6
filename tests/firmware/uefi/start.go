package uefi

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Start starts the disk and leaves in it what systemd-boot writes: the counted try of the entry that it starts. Started again, it counts on.
// Source: UAPI.1 Boot Loader Specification, "Boot counting"; systemd 257, boot_entry_bump_counters.
func Start(d *disk.Overlay, size int64, arch Arch) (firmware.Report, error) {
	r, err := Check(d, size, arch)
	if err != nil || r.Kernel == "" {
		return r, err
	}
	m := counter.FindStringSubmatch(path.Base(r.Kernel))
	if m == nil || m[2] == "" {
		return r, nil
	}
	left, err := strconv.Atoi(m[2])
	if err != nil {
		return r, err
	}
	done := 0
	if m[3] != "" {
		if done, err = strconv.Atoi(m[3]); err != nil {
			return r, err
		}
	}
	table, err := disk.Read(d, size)
	if err != nil {
		return r, err
	}
	for _, p := range table.Partitions {
		if p.Type != disk.TypeESP && p.Type != disk.TypeMBRESP {
			continue
		}
		to := fmt.Sprintf("%s+%d-%d.efi", m[1], max(left-1, 0), done+1)
		if err := disk.Rename(d, p, r.Kernel, to); err != nil {
			return r, err
		}
		// What is started is the renamed file.
		r.Kernel = path.Dir(r.Kernel) + "/" + to
		if r.Initrd != "" {
			r.Initrd = r.Kernel
		}
		return r, nil
	}
	return r, fmt.Errorf("%s: %s", arch.Name, strings.Join(r.Faults, "; "))
}
