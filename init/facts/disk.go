package facts

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/block"
	"github.com/keelson-os/keelson/init/mountinfo"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/machine"
)

// labels are the partitions that have a name on a master boot record as well, by their position.
var labels = []string{"esp", "bootstate", "root-a", "root-b", "state"}

// Disks lists the disks with their partitions. booted is the name of the disk that the system was booted from, part the
// device of the running root's partition; either may be empty.
func (r Roots) Disks(booted, part string) ([]machine.Disk, error) {
	disks, err := block.Disks(r.Sys)
	if err != nil {
		return nil, err
	}
	mounts := r.mounts()
	list := []machine.Disk{}
	for _, b := range disks {
		dir := filepath.Join(r.Sys, "block", b.Name)
		d := machine.Disk{
			Name: b.Name, Size: b.Size, SectorSize: b.SectorSize, Booted: b.Name == booted,
			Model:     strings.TrimSpace(read(dir, "device/model")),
			Serial:    strings.TrimSpace(read(dir, "device/serial")),
			ReadOnly:  number(dir, "ro") != 0,
			Removable: number(dir, "removable") != 0,
			Rotating:  number(dir, "queue/rotational") != 0,
		}
		if d.Model == "" {
			d.Model = strings.TrimSpace(read(dir, "device/name")) // cards and eMMC
		}
		if d.Serial == "" {
			d.Serial = strings.TrimSpace(read(dir, "serial")) // virtio
		}
		// Source: Linux, Documentation/block/stat.rst; sectors there are of 512 bytes.
		if f := strings.Fields(read(dir, "stat")); len(f) >= 7 {
			d.Read, d.Written = sectors(f[2]), sectors(f[6])
		}
		d.Partitions = r.partitions(dir, mounts)
		r.name(&d)
		for i := range d.Partitions {
			d.Partitions[i].Booted = part != "" && "/dev/"+d.Partitions[i].Name == part
		}
		list = append(list, d)
	}
	return list, nil
}

func sectors(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 54)
	if err != nil {
		return 0
	}
	return n * 512
}

func (r Roots) partitions(disk string, mounts []mountinfo.Mount) []machine.Partition {
	list := []machine.Partition{}
	for _, file := range sorted(disk, "*/partition") {
		dir := filepath.Dir(file)
		p := machine.Partition{
			Name: strings.ReplaceAll(filepath.Base(dir), "!", "/"), Number: int(number(file)),
			Start: number(dir, "start") * 512, Size: number(dir, "size") * 512,
		}
		for line := range strings.Lines(read(dir, "uevent")) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PARTNAME="); ok {
				p.Label = name
			}
		}
		if m, ok := firstMount(mounts, read(dir, "dev")); ok {
			p.Space = space(m)
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b machine.Partition) int { return a.Number - b.Number })
	return list
}

// name gives labels to the partitions of a master boot record, which has none.
func (r Roots) name(d *machine.Disk) {
	if len(d.Partitions) == 0 || slices.ContainsFunc(d.Partitions, func(p machine.Partition) bool { return p.Label != "" }) {
		return
	}
	f, err := os.Open(filepath.Join(r.Dev, d.Name))
	if err != nil {
		return
	}
	defer f.Close()
	table, err := parttable.Read(f, d.Size)
	if err != nil {
		return
	}
	for _, label := range labels {
		n, ok := table.Find(label)
		if i := slices.IndexFunc(d.Partitions, func(p machine.Partition) bool { return p.Number == n }); ok && i >= 0 {
			d.Partitions[i].Label = label
		}
	}
}

// mounts are what is mounted; none if that cannot be read.
func (r Roots) mounts() []mountinfo.Mount {
	f, err := os.Open(filepath.Join(r.Proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	mounts, err := mountinfo.Parse(f)
	if err != nil {
		return nil
	}
	return mounts
}

// firstMount is the oldest mount of a device, given as "major:minor": later ones are binds of its folders.
func firstMount(mounts []mountinfo.Mount, device string) (mountinfo.Mount, bool) {
	for _, m := range mounts {
		if device != "" && m.Device == device {
			return m, true
		}
	}
	return mountinfo.Mount{}, false
}

// Space is the room of the file system that is mounted on path. ok is false when nothing is.
func (r Roots) Space(path string) (_ machine.Space, ok bool) {
	for _, m := range slices.Backward(r.mounts()) {
		if m.Point == path {
			return *space(m), true
		}
	}
	return machine.Space{}, false
}

func space(m mountinfo.Mount) *machine.Space {
	s := &machine.Space{Device: m.Source, Path: m.Point, FSType: m.FSType}
	var st unix.Statfs_t
	if unix.Statfs(m.Point, &st) != nil {
		return s
	}
	size := int64(st.Bsize)
	s.Size, s.Free = int64(st.Blocks)*size, int64(st.Bavail)*size
	s.Used = s.Size - int64(st.Bfree)*size
	s.Files, s.FilesFree = int64(st.Files), int64(st.Ffree)
	return s
}
