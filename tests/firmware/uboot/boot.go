package uboot

import (
	"errors"
	"io"
	"maps"
	"path"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Check starts the disk once, on a copy. The committed and trial blocks are taken as they are on it.
func Check(image io.ReaderAt, size int64, m Machine) (firmware.Report, error) {
	return Start(disk.NewOverlay(image), size, m)
}

// Start starts the disk, and leaves the writes of the boot script in it: started again, it counts on.
func Start(d *disk.Overlay, size int64, m Machine) (firmware.Report, error) {
	r := firmware.Report{Machine: m.Name}
	table, err := disk.Read(d, size)
	if err != nil {
		return r, err
	}
	u := &run{m: m, disk: d, table: table, fats: map[int]*disk.FAT{}, report: &r, env: maps.Clone(m.Env), device: map[string]int{}}
	for _, p := range table.Partitions {
		switch f, err := disk.OpenFAT(d, p); {
		case err == nil:
			u.fats[p.Number] = f
			if f.Unequal() {
				r.Faultf("%s", disk.Unequal)
			}
		case p.Type == disk.TypeESP || p.Type == disk.TypeFAT32 || p.Type == disk.TypeFAT32LBA:
			r.Faultf("%v", err)
		}
	}
	part, name, file := u.find()
	if file == nil {
		return r, nil
	}
	r.Load("U-Boot", name, int64(len(file)), firmware.Range{})
	text, err := Script(file)
	if err != nil {
		r.Faultf("%s: %v", name, err)
		return r, nil
	}
	l, err := parse(text)
	if err != nil {
		r.Faultf("%s: %v", name, err)
		return r, nil
	}
	u.env["devtype"], u.env["devnum"], u.env["distro_bootpart"] = m.DevType, hex(uint64(m.DevNum)), hex(uint64(part))
	u.env["prefix"], _ = path.Split(name)
	if _, err := u.list(l); err != nil && !errors.Is(err, errStop) {
		return r, err
	}
	switch {
	case u.booted:
	case u.reset:
		r.Faultf("boot script, line %d: it gives up and resets the machine", u.line)
	default:
		r.Faultf("the boot script ends and nothing is booted")
	}
	return r, nil
}

// find goes over the disk as standard boot and distro_bootcmd do, and returns the script that they take. Whatever they
// would take before it is a fault.
func (u *run) find() (part int, name string, file []byte) {
	r := u.report
	bootable := false
	for _, p := range u.table.Partitions {
		bootable = bootable || p.Bootable
	}
	for _, p := range u.table.Partitions {
		f, ok := u.fats[p.Number]
		if !ok {
			continue
		}
		if u.m.EnvFile && f.Has("uboot.env") {
			r.Faultf("partition %d: uboot.env replaces the environment", p.Number)
		}
		// The boot manager of EFI is a global boot method: it goes first, over all disks.
		if !u.m.Distro && f.Has("EFI/BOOT/BOOTAA64.EFI") {
			r.Faultf("partition %d: EFI/BOOT/BOOTAA64.EFI is started before any boot script", p.Number)
		}
	}
	for _, p := range u.table.Partitions {
		f, ok := u.fats[p.Number]
		// With a bootable partition only those count, without one only the first.
		if !ok || bootable && !p.Bootable || !bootable && p.Number != 1 {
			continue
		}
		for _, prefix := range []string{"/", "/boot/"} {
			if f.Has(prefix + "extlinux/extlinux.conf") {
				r.Faultf("partition %d: %sextlinux/extlinux.conf is taken before any boot script", p.Number, prefix)
			}
		}
		for _, prefix := range []string{"/", "/boot/"} {
			for _, script := range []string{"boot.scr.uimg", "boot.scr"} {
				data, err := f.ReadFile(prefix + script)
				if err == nil {
					return p.Number, prefix + script, data
				}
			}
		}
		r.Faultf("partition %d: no boot.scr", p.Number)
	}
	if len(r.Faults) == 0 {
		r.Faultf("no partition that U-Boot boots from")
	}
	return 0, "", nil
}
