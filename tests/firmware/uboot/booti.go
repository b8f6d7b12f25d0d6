package uboot

import (
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/arm64"
	"github.com/keelson-os/keelson/tests/firmware/fdt"
)

// commandLineSize is the kernel's COMMAND_LINE_SIZE on arm64.
const commandLineSize = 2048

// booti is the end of a script: the kernel is moved to where its header wants it, and started. All three parts must
// be as they were loaded, in memory, and clear of each other.
func (u *run) booti(args []string) (int, error) {
	if len(args) != 4 {
		return 1, u.stopf(u.line, "%s: want \"booti KERNEL INITRD:SIZE TREE\", the board has no other device tree", strings.Join(args, " "))
	}
	r := u.report
	addr, err := number(args[1])
	if err != nil {
		return 1, u.stopf(u.line, "booti: kernel: %v", err)
	}
	kernel, over, ok := u.mem.whole(addr)
	if !ok {
		return 1, u.stopf(u.line, "booti: nothing was loaded to %#x", addr)
	}
	if over != "" {
		u.faultf("booti: the kernel was overwritten by %s", over)
	}
	h, err := arm64.Parse(kernel.data)
	if err != nil {
		u.faultf("booti: %s: %v", kernel.name, err)
		return 1, nil
	}
	base := u.m.Memory.Start
	if h.Anywhere {
		base = addr - h.TextOffset
	}
	where := firmware.At((base+arm64.Align-1)&^(arm64.Align-1)+h.TextOffset, h.ImageSize)
	r.Kernel = kernel.name
	parts := []firmware.Load{{File: kernel.name, Size: int64(len(kernel.data)), At: where}}

	from, length, ok := strings.Cut(args[2], ":")
	a, err1 := number(from)
	n, err2 := number(length)
	if !ok || err1 != nil || err2 != nil {
		return 1, u.stopf(u.line, "booti: initrd %q, want ADDRESS:SIZE", args[2])
	}
	initrd, over, ok := u.mem.whole(a)
	switch {
	case !ok:
		return 1, u.stopf(u.line, "booti: no initrd was loaded to %#x", a)
	case over != "":
		u.faultf("booti: %s was overwritten by %s", initrd.name, over)
	case n != uint64(len(initrd.data)):
		u.faultf("booti: %s has %d bytes, the size given is %d", initrd.name, len(initrd.data), n)
	}
	r.Initrd = initrd.name
	parts = append(parts, firmware.Load{File: initrd.name, Size: int64(n), At: firmware.At(a, n)})

	if a, err = number(args[3]); err != nil {
		return 1, u.stopf(u.line, "booti: device tree: %v", err)
	}
	tree, over, ok := u.mem.whole(a)
	if given, err := number(u.env["fdt_addr"]); !ok && err == nil && given == a && u.m.FirmwareTree != nil {
		tree, ok = segment{name: "the firmware's device tree", data: u.m.FirmwareTree}, true
	} else if ok {
		parts = append(parts, firmware.Load{File: tree.name, Size: int64(len(tree.data)), At: firmware.At(a, uint64(len(tree.data))+treeSlack)})
	}
	if !ok {
		return 1, u.stopf(u.line, "booti: no device tree at %#x", a)
	}
	if over != "" {
		u.faultf("booti: %s was overwritten by %s", tree.name, over)
	}
	if _, err := fdt.Parse(tree.data); err != nil {
		u.faultf("booti: %s: %v", tree.name, err)
	}
	if a%8 != 0 {
		u.faultf("booti: the device tree is at %#x, which is not a multiple of 8", a)
	}
	r.DeviceTree = tree.name
	r.Place(u.m.Memory, u.m.Reserved, parts)
	for _, p := range parts {
		r.Load("booti", p.File, p.Size, p.At)
	}
	r.Cmdline = u.env["bootargs"]
	if r.Cmdline == "" {
		u.faultf("booti: bootargs is empty")
	}
	if len(r.Cmdline) >= commandLineSize {
		u.faultf("booti: bootargs has %d characters, the kernel takes %d", len(r.Cmdline), commandLineSize-1)
	}
	r.Slot = firmware.SlotOf(kernel.name)
	for _, p := range parts[1:] {
		if s := firmware.SlotOf(p.File); s == "" || s != r.Slot {
			u.faultf("booti: %s with the kernel %s", p.File, kernel.name)
		}
	}
	u.booted = true
	return 0, errStop
}

// treeSlack is what U-Boot adds to a device tree: bootargs, the initrd's place, memory (CONFIG_SYS_FDT_PAD).
const treeSlack = 0x3000
