package drive

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/init/mountinfo"
)

// host is where Linux shows its disks. It is a value so that tests can bring another one,
// and it compiles everywhere.
type host struct {
	sys  string // /sys
	proc string // /proc
	udev string // /run/udev/data
}

// number is a block device's, as "8:16".
type number string

// device is a disk or a partition below /sys.
type device struct {
	name string // as below /dev
	dir  string // its folder
	num  number
}

func (h host) read(path ...string) string {
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		return "" // a property that the kernel does not have is unknown
	}
	return strings.TrimSpace(string(b))
}

// disks returns every whole disk that could be one of a computer: no loop devices, RAM
// disks, RAID arrays, mapped devices or optical drives.
func (h host) disks() ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(h.sys, "block"))
	if err != nil {
		return nil, err
	}
	var out []Disk
	for _, e := range entries {
		virtual := false
		for _, prefix := range []string{"loop", "mtdblock", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "drbd", "zd"} {
			rest, ok := strings.CutPrefix(e.Name(), prefix)
			virtual = virtual || ok && (rest == "" || rest[0] >= '0' && rest[0] <= '9')
		}
		// An eMMC's boot areas are no disks of their own.
		if virtual || strings.HasPrefix(e.Name(), "mmcblk") && (strings.Contains(e.Name(), "boot") || strings.Contains(e.Name(), "rpmb")) {
			continue
		}
		d, err := h.disk(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // pulled out since
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *d)
	}
	return out, nil
}

// byNumber returns the disk with the given number; partSize is not 0 when the number is
// that of one of its partitions.
func (h host) byNumber(num number) (d *Disk, partSize int64, err error) {
	// A link to the device's folder: …/block/sdb, or …/block/sdb/sdb1 for a partition.
	dir, err := filepath.EvalSymlinks(filepath.Join(h.sys, "dev", "block", string(num)))
	if err != nil {
		return nil, 0, err
	}
	name := filepath.Base(dir)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		partSize, name = h.size(dir), filepath.Base(filepath.Dir(dir))
	}
	d, err = h.disk(name)
	return d, partSize, err
}

// disk describes one disk by its name below /sys/block.
func (h host) disk(name string) (*Disk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(h.sys, "block", name))
	if err != nil {
		return nil, err
	}
	self := device{name, dir, number(h.read(dir, "dev"))}
	d := &Disk{
		Path: "/dev/" + strings.ReplaceAll(name, "!", "/"), Size: h.size(dir), SectorSize: SectorSize,
		ReadOnly: h.read(dir, "ro") == "1", Bus: h.bus(dir, name),
	}
	if n, err := strconv.Atoi(h.read(dir, "queue", "logical_block_size")); err == nil {
		d.SectorSize = n
	}
	vendor := h.read(dir, "device", "vendor")
	if strings.HasPrefix(vendor, "0x") { // virtio's is a number
		vendor = ""
	}
	d.Model = strings.Join(strings.Fields(vendor+" "+h.read(dir, "device", "model")), " ")
	if d.Model == "" {
		d.Model = h.read(dir, "device", "name") // SD cards
	}
	d.Removable = h.read(dir, "removable") == "1" || d.Bus == "usb" || d.Bus == "sd"

	parts, err := h.partitions(self)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		label, kind := h.udevOf(p.num)
		d.Partitions = append(d.Partitions, Partition{Path: "/dev/" + p.name, Size: h.size(p.dir), Label: label, FileSystem: kind})
	}
	if label, kind := h.udevOf(self.num); len(parts) == 0 && kind != "" {
		d.Partitions = []Partition{{Path: d.Path, Size: d.Size, Label: label, FileSystem: kind}} // without a table
	}
	if d.Uses, err = h.uses(append(parts, self)); err != nil {
		return nil, err
	}
	return d, nil
}

// size returns a device's length in bytes; the kernel counts sectors of 512 bytes whatever
// the device's own are.
func (h host) size(dir string) int64 {
	n, err := strconv.ParseInt(h.read(dir, "size"), 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return 0
	}
	return n * 512
}

// bus tells from the device's place in the tree of devices how it is attached.
func (h host) bus(dir, name string) string {
	if strings.HasPrefix(name, "mmcblk") {
		if h.read(dir, "device", "type") == "SD" {
			return "sd"
		}
		return "mmc"
	}
	for _, b := range []struct{ part, bus string }{{"/usb", "usb"}, {"/nvme", "nvme"}, {"/virtio", "virtio"}, {"/ata", "ata"}, {"/host", "scsi"}, {"/vbd", "xen"}} {
		if strings.Contains(strings.TrimPrefix(dir, h.sys), b.part) {
			return b.bus
		}
	}
	return ""
}

// partitions returns those of a disk in the order of their numbers.
func (h host) partitions(disk device) ([]device, error) {
	entries, err := os.ReadDir(disk.dir)
	if err != nil {
		return nil, err
	}
	byNumber := map[int]device{}
	for _, e := range entries {
		dir := filepath.Join(disk.dir, e.Name())
		if n, err := strconv.Atoi(h.read(dir, "partition")); err == nil && n > 0 {
			byNumber[n] = device{e.Name(), dir, number(h.read(dir, "dev"))}
		}
	}
	var out []device
	for _, n := range slices.Sorted(maps.Keys(byNumber)) {
		out = append(out, byNumber[n])
	}
	return out, nil
}

// udevOf returns what udev found on a device: a label and the kind of file system.
func (h host) udevOf(num number) (label, kind string) {
	partition := ""
	for line := range strings.Lines(h.read(h.udev, "b"+string(num))) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "E:ID_FS_LABEL":
			label = value
		case "E:ID_FS_TYPE":
			kind = value
		case "E:ID_PART_ENTRY_NAME":
			partition = value
		}
	}
	if label == "" {
		label = partition
	}
	return label, kind
}

// uses returns who has any of the devices: file systems, swap, and devices made of them.
func (h host) uses(devices []device) ([]Use, error) {
	mounts, err := h.mounts()
	if err != nil {
		return nil, err
	}
	swaps := h.swaps()
	var out []Use
	seen := map[number]bool{}
	// A device, and those that hold it: LVM on LUKS on a partition.
	var visit func(d device, part string)
	visit = func(d device, part string) {
		if seen[d.num] || len(seen) > 4096 {
			return
		}
		seen[d.num] = true
		path := "/dev/" + d.name
		for _, m := range mounts {
			if number(m.Device) != d.num && m.Source != path {
				continue
			}
			kind := Mounted
			if systemMount(m.Point) {
				kind = System
			}
			out = append(out, Use{Kind: kind, By: m.Point + " (" + part + ")", Mount: m.Point})
		}
		for _, s := range swaps {
			if s == path {
				out = append(out, Use{Kind: System, By: "swap (" + part + ")"})
			}
		}
		holders, err := os.ReadDir(filepath.Join(d.dir, "holders"))
		if err != nil {
			return // a partition's folder of an old kernel has none
		}
		for _, e := range holders {
			dir := filepath.Join(h.sys, "block", e.Name())
			mapped := h.read(dir, "dm", "name") // "" when it is no mapped device
			out = append(out, Use{Kind: InUse, By: cmp.Or(mapped, e.Name()) + " (" + part + ")"})
			visit(device{e.Name(), dir, number(h.read(dir, "dev"))}, part)
			if mapped != "" {
				for _, m := range mounts { // file systems whose device number is not the disk's, such as btrfs
					if m.Source == "/dev/mapper/"+mapped && systemMount(m.Point) {
						out = append(out, Use{Kind: System, By: m.Point + " (" + part + ")", Mount: m.Point})
					}
				}
			}
		}
	}
	for _, d := range devices {
		visit(d, "/dev/"+d.name)
	}
	return out, nil
}

// systemMount reports whether a system cannot go on without what is mounted there.
func systemMount(point string) bool {
	switch point {
	case "/", "/usr", "/var", "/boot", "/boot/efi", "/efi", "/home", "/nix", "/gnu", "/sysroot":
		return true
	}
	return false
}

func (h host) mounts() ([]mountinfo.Mount, error) {
	f, err := os.Open(filepath.Join(h.proc, "self", "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.Parse(f)
}

// swaps returns the paths of swap devices.
func (h host) swaps() []string {
	var out []string
	for line := range strings.Lines(h.read(h.proc, "swaps")) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "partition" {
			out = append(out, mountinfo.Unescape(f[0]))
		}
	}
	return out
}
