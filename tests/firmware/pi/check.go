package pi

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/arm64"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/fdt"
)

// Places in memory.
const (
	kernelAddress = 0x200000   // of a 64-bit kernel (boot.adoc, kernel_address)
	stubEnd       = 0x80000    // below it are the ARM stub and the spin table of the other processors
	highest       = 0x2f000000 // initramfs and device tree end here, or at the memory's end (raspberrypi/linux issue 7319)
	slack         = 64 << 10   // what the firmware may add to a device tree: MAC, memory, command line
)

// commandLineSize is the kernel's COMMAND_LINE_SIZE on arm64; firmwareArgs is what the firmware adds in front, at most.
const (
	commandLineSize = 2048
	firmwareArgs    = 512
)

// slotName is the file with which Keelson selects a slot on a Pi 5. The firmware does not know it; that it is one
// sector long is what makes its replacement safe against a power cut.
const slotName = "slot.txt"

// Check reads the disk as m does. The Report's Kernel may be U-Boot: package uboot goes on from there.
func Check(image io.ReaderAt, size int64, m Model) (firmware.Report, error) {
	r := firmware.Report{Machine: m.Name}
	table, err := disk.Read(image, size)
	if err != nil {
		return r, err
	}
	part, ok := bootPartition(&r, table, m)
	if !ok {
		return r, nil
	}
	fat, err := disk.OpenFAT(image, part)
	if err != nil {
		r.Faultf("%v", err)
		return r, nil
	}
	if fat.Unequal() {
		r.Faultf("%s", disk.Unequal)
	}
	c := parseConfig(fat.ReadFile, m)
	programs(&r, fat, c, m)
	loader := "start.elf"
	switch m.Gen {
	case Gen4:
		loader = "start4.elf"
	case Gen5:
		loader = "EEPROM"
	}
	for _, name := range c.files {
		n, err := fat.Size(name)
		if err != nil {
			return r, err
		}
		r.Load(loader, name, n, firmware.Range{})
		if name == slotName {
			slotFile(&r, fat, n)
		}
		if name != "config.txt" && m.Gen == Gen5 {
			r.Notef("include: the documentation says that \"the EEPROM bootloader\" has none; it was written of the Pi 4, whose start4.elf has it and whose successor is in the Pi 5's EEPROM")
		}
	}
	system(&r, fat, c, m, loader)
	for _, f := range c.faults {
		r.Faultf("%s", f)
	}
	return r, nil
}

// bootPartition is the partition that the ROM or the EEPROM reads.
func bootPartition(r *firmware.Report, t *disk.Table, m Model) (disk.Partition, bool) {
	if t.GPT {
		if m.Gen == Gen3 {
			r.Faultf("the disk has a GPT, the ROM of a %s reads an MBR only", m.Name)
			return disk.Partition{}, false
		}
		for _, p := range t.Partitions {
			if p.Type == disk.TypeESP {
				return p, true
			}
		}
		r.Faultf("no EFI system partition in the GPT")
		return disk.Partition{}, false
	}
	for _, p := range t.Partitions {
		if p.Type == "0x0f" {
			r.Faultf("partition %d: an extended partition must be of type 0x05, not 0x0f", p.Number)
		}
	}
	for _, p := range t.Partitions {
		// The ROM takes no 0xef (raspberrypi/firmware issue 1711).
		if p.Type == disk.TypeFAT32 || p.Type == disk.TypeFAT32LBA {
			if p.Number != 1 {
				r.Faultf("the FAT partition is number %d, the ROM reads the first", p.Number)
			}
			return p, true
		}
	}
	r.Faultf("no partition of type 0x0b or 0x0c")
	return disk.Partition{}, false
}

// programs are what runs on the VideoCore, before the kernel.
func programs(r *firmware.Report, fat *disk.FAT, c *config, m Model) {
	need := func(by, name string, elf bool) {
		data, err := fat.ReadFile(name)
		switch {
		case err != nil:
			r.Faultf("%s: %v", by, err)
		case len(data) == 0 || elf && !bytes.HasPrefix(data, []byte("\x7fELF")):
			r.Faultf("%s: %s is empty or no ELF file", by, name)
		default:
			r.Load(by, name, int64(len(data)), firmware.Range{})
		}
	}
	variant := ""
	if c.flag("gpu_mem", 0) == 16 {
		variant = "cd" // the cut-down firmware (boot.adoc, start_file)
	} else if c.flag("start_x", 0) != 0 {
		variant = "x"
	} else if c.flag("start_debug", 0) != 0 {
		variant = "db"
	}
	switch m.Gen {
	case Gen3:
		if variant != "" {
			variant = "_" + variant
		}
		need("boot ROM", "bootcode.bin", false)
		need("bootcode.bin", "start"+variant+".elf", true)
		need("bootcode.bin", "fixup"+variant+".dat", false)
	case Gen4:
		need("EEPROM", "start4"+variant+".elf", true)
		need("EEPROM", "fixup4"+variant+".dat", false)
	case Gen5: // all of it is in the EEPROM
	}
	// recovery.bin replaces the EEPROM and is then renamed; the Pi 5 updates itself from files of other names.
	if m.Gen != Gen3 && fat.Has("recovery.bin") {
		r.Faultf("recovery.bin: the ROM would run it instead of the EEPROM")
	}
	if fat.Has("autoboot.txt") {
		r.Faultf("autoboot.txt: the firmware may leave this partition for another")
	}
	for _, key := range []string{"start_file", "fixup_file", "armstub", "kernel_old", "kernel_address", "ramfsfile", "ramfsaddr", "boot_ramdisk"} {
		if _, ok := c.set[key]; ok {
			r.Faultf("config.txt: %s changes what this reader knows of", key)
		}
	}
}

func slotFile(r *firmware.Report, fat *disk.FAT, size int64) {
	if size != disk.SectorSize {
		r.Faultf("%s: %d bytes, want one sector of 512, so that a power cut leaves it old or new", slotName, size)
	}
	data, err := fat.ReadFile(slotName)
	if err != nil {
		return // is a fault of parseConfig already
	}
	settings := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			settings++
			if !strings.HasPrefix(line, "os_prefix=") {
				r.Faultf("%s: %q, want nothing but os_prefix", slotName, line)
			}
		}
	}
	if settings != 1 {
		r.Faultf("%s: %d settings, want one", slotName, settings)
	}
}

// system loads the operating system's files.
func system(r *firmware.Report, fat *disk.FAT, c *config, m Model, by string) {
	if c.flag("arm_64bit", map[Generation]int{Gen3: 0, Gen4: 1, Gen5: 1}[m.Gen]) == 0 {
		r.Faultf("config.txt: arm_64bit is not 1: a %s starts in 32-bit mode", m.Name)
	}
	kernel := "kernel8.img"
	if m.Gen == Gen5 {
		kernel = "kernel_2712.img"
	}
	if k, ok := c.set["kernel"]; ok {
		kernel = k
	}
	trees := m.Downstream
	prefix, explicit := c.set["os_prefix"], c.set["os_prefix"] != ""
	if c.flag("upstream_kernel", 0) != 0 {
		trees = slices.Concat(m.Upstream, m.Downstream)
		if !explicit {
			prefix = "upstream/"
		}
	}
	if m.Gen == Gen5 {
		r.Notef("device tree: the mainline kernel has another one for the D0 stepping of the chip (bcm2712-d-rpi-5-b.dtb); whether the firmware takes it by itself is documented nowhere (raspberrypi/firmware issue 2018)")
	}
	if d, ok := c.set["device_tree"]; ok {
		trees = []string{d}
	}
	in := func(prefix, name string) string {
		if strings.HasPrefix(name, "/") {
			return name
		}
		return prefix + name
	}
	tree := func(prefix string) (string, bool) {
		for _, t := range trees {
			if fat.Has(in(prefix, t)) {
				return in(prefix, t), true
			}
		}
		return "", false
	}
	// A prefix without the expected kernel and device tree is ignored (boot.adoc, os_prefix).
	if _, ok := tree(prefix); prefix != "" && (!ok || !fat.Has(in(prefix, kernel))) {
		if explicit {
			r.Faultf("os_prefix=%s is ignored: %s and one of %v are not both there", prefix, in(prefix, kernel), trees)
		}
		prefix = ""
	}
	r.Kernel = in(prefix, kernel)
	r.Slot = firmware.SlotOf(r.Kernel)
	var placed []firmware.Load
	put := func(file string, size int64, at firmware.Range) {
		r.Load(by, file, size, at)
		placed = append(placed, firmware.Load{File: file, At: at})
	}
	kernelData, err := fat.ReadFile(r.Kernel)
	if err != nil {
		r.Faultf("kernel: %v", err)
		return
	}
	linux := true
	at := firmware.At(kernelAddress, uint64(len(kernelData)))
	switch h, err := arm64.Parse(kernelData); {
	case err == nil:
		at = firmware.At(kernelAddress+h.TextOffset, h.ImageSize)
	case bytes.Contains(kernelData, []byte("U-Boot 2")):
		linux = false
		at = firmware.At(stubEnd, uint64(len(kernelData))) // no header: at U-Boot's own TEXT_BASE
	default:
		linux = false
		r.Faultf("%s: %v, and no U-Boot", r.Kernel, err)
	}
	put(r.Kernel, int64(len(kernelData)), at)

	top := min(uint64(highest), m.Memory.End)
	if t, ok := tree(prefix); ok {
		r.DeviceTree = t
		data, err := fat.ReadFile(t)
		if err == nil {
			_, err = fdt.Parse(data)
		}
		if err != nil {
			r.Faultf("%s: %v", t, err)
		}
		n := uint64(len(data)+slack+0xfff) &^ 0xfff
		top -= n
		put(t, int64(len(data)), firmware.At(top, n))
	} else {
		r.Faultf("no device tree: %s looks for %s", m.Name, strings.Join(trees, ", "))
	}
	if file := c.initramfs[0]; file != "" {
		if c.initramfs[1] != "followkernel" && c.initramfs[1] != "0" {
			r.Faultf("config.txt: initramfs at %s, want followkernel", c.initramfs[1])
		}
		r.Initrd = in(prefix, file)
		n, err := fat.Size(r.Initrd)
		if err != nil {
			r.Faultf("initramfs: %v", err)
		}
		// It is read behind the kernel's file and then moved below the device tree.
		size := uint64(n+0xfff) &^ 0xfff
		put(r.Initrd, n, firmware.At(max(top, size)-size, size))
	}
	if linux {
		if r.Initrd == "" {
			r.Faultf("config.txt: no initramfs")
		}
		cmdline(r, fat, c, in, prefix, by)
		sameSlot(r)
	}
	r.Place(firmware.Range{Start: stubEnd, End: m.Memory.End}, nil, placed)
}

// cmdline reads the kernel's command line: the first line of the file.
func cmdline(r *firmware.Report, fat *disk.FAT, c *config, in func(prefix, name string) string, prefix, by string) {
	name := "cmdline.txt"
	if v, ok := c.set["cmdline"]; ok {
		name = v
	}
	name = in(prefix, name)
	data, err := fat.ReadFile(name)
	if err != nil {
		r.Faultf("command line: %v", err)
		return
	}
	r.Load(by, name, int64(len(data)), firmware.Range{})
	line, rest, _ := strings.Cut(string(data), "\n")
	if strings.TrimSpace(rest) != "" {
		r.Faultf("%s: has more than one line", name)
	}
	if r.Cmdline = strings.TrimSpace(line); r.Cmdline == "" {
		r.Faultf("%s: is empty", name)
	}
	if len(line)+firmwareArgs > commandLineSize {
		r.Faultf("%s: %d characters, and the firmware adds up to %d: the kernel takes %d", name, len(line), firmwareArgs, commandLineSize)
	}
	if firmware.SlotOf(name) != r.Slot {
		r.Faultf("the command line is %s, the kernel %s", name, r.Kernel)
	}
}

// sameSlot finds files of one slot used with another's.
func sameSlot(r *firmware.Report) {
	for _, f := range []string{r.Initrd, r.DeviceTree} {
		if slot := firmware.SlotOf(f); f != "" && slot != r.Slot {
			r.Faultf("%s with the kernel %s: slot %q with slot %q", f, r.Kernel, slot, r.Slot)
		}
	}
}
