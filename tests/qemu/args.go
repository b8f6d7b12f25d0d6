package qemu

import (
	"fmt"
	"strings"
)

// tcgCPU: QEMU 7.2's TCG miscomputes flags around cmpxchg16b, and one x86 boot in eight
// dies of it in the kernel; without cx16 40 of 40 boots passed. The other features cost
// emulation time and protect nobody inside a test machine.
const tcgCPU = "max,-cx16,-la57,-smap,-smep,-pku"

// arguments returns QEMU's command line. All file names are relative to the machine's
// folder, which is QEMU's working directory: no comma in a path can break an option, and
// the socket's path stays below the 108 bytes that Unix allows.
func (c *Config) arguments(fw firmware, forwards []Forward, accel Accel) []string {
	args := []string{
		"-name", "keelson",
		"-machine", "q35,vmport=off",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-m", fmt.Sprint(c.MemoryMB), "-smp", fmt.Sprint(c.CPUs),
		"-S", // paused until the link is set
		"-qmp", "unix:qmp.sock,server=on,wait=off",
		"-chardev", "file,id=serial,path=serial.log,append=on", "-serial", "chardev:serial",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(fw.code),
		"-drive", "if=pflash,unit=1,format=raw,file=vars.fd",
		// Flushes are honoured, so that a killed QEMU loses nothing the guest was told is safe.
		"-drive", "if=none,id=disk,format=qcow2,file=disk.qcow2,cache=writeback,discard=unmap,detect-zeroes=unmap",
		"-device", "virtio-rng-pci",
	}
	if accel == AccelKVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", tcgCPU)
	}
	switch c.Disk {
	case DiskSATA:
		args = append(args, "-device", "ide-hd,bus=ide.0,drive=disk,bootindex=0")
	case DiskNVMe:
		args = append(args, "-device", "nvme,serial=keelson,drive=disk,bootindex=0")
	default:
		args = append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=0")
	}
	if c.NIC == NICNone {
		args = append(args, "-nic", "none")
		return append(args, c.Args...)
	}
	netdev := "user,id=net0"
	if c.Isolated {
		netdev += ",restrict=on"
	}
	for _, f := range forwards {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	model := map[NIC]string{NICVirtio: "virtio-net-pci", NICE1000E: "e1000e"}[c.NIC]
	// No option ROM: the machine never boots from the network.
	args = append(args, "-netdev", netdev, "-device", model+",id=nic0,netdev=net0,romfile=")
	return append(args, c.Args...)
}

// escape writes a value into a QEMU option list.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
