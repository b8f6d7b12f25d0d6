package qemu

import (
	"fmt"
	"strings"
)

// cpuTCG are the emulated processors.
//
// amd64: QEMU 7.2's TCG miscomputes flags around cmpxchg16b, and one x86 boot in eight
// dies of it in the kernel; without cx16 40 of 40 boots passed. The other features cost
// emulation time and protect nobody inside a test machine.
//
// arm64: a processor without pointer authentication, whose emulation hashes an address at every
// call and return.
var cpuTCG = map[string]string{
	amd64: "max,-cx16,-la57,-smap,-smep,-pku",
	arm64: "cortex-a72",
}

// drive is the drive's options. Flushes are honoured, so that a killed QEMU loses nothing the
// guest was told is safe.
const drive = "format=qcow2,file=" + diskName + ",cache=writeback,discard=unmap,detect-zeroes=unmap"

// arguments returns QEMU's command line. All file names are relative to the machine's
// folder, which is QEMU's working directory: no comma in a path can break an option, and
// the socket's path stays below the 108 bytes that Unix allows.
func (c *Config) arguments(p Platform, fw firmware, k kernelFiles, forwards []Forward, accel Accel) []string {
	args := []string{
		"-name", "keelson",
		"-machine", machineType(p),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-m", fmt.Sprint(c.MemoryMB), "-smp", fmt.Sprint(c.CPUs),
		"-S", // paused until the link is set
		"-qmp", "unix:" + socketName + ",server=on,wait=off",
		"-chardev", "file,id=serial,path=serial.log,append=on",
	}
	if p.Firmware == FirmwarePi3 {
		// Its console is the second port, the mini UART; the first one is Bluetooth's.
		args = append(args, "-serial", "null")
	}
	args = append(args, "-serial", "chardev:serial")
	if p.Arch == amd64 {
		// QEMU straps the chipset's watchdog (TCO) so that it resets nothing, unless it is told otherwise; later versions need not be.
		args = append(args, "-global", "ICH9-LPC.noreboot=false")
	}
	args = append(args, fw.arguments()...)
	args = append(args, k.arguments()...)
	if accel == AccelKVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", "tcg,thread=multi")
		if p.Firmware != FirmwarePi3 { // which has its own
			args = append(args, "-cpu", cpuTCG[p.Arch])
		}
	}
	if p.Firmware != FirmwarePi3 { // which has no PCI, and a generator of its own
		args = append(args, "-device", "virtio-rng-pci")
		if c.Disk == DiskUSB || c.NIC == NICUSB {
			args = append(args, "-device", "qemu-xhci,id=xhci")
		}
	}
	args = append(args, c.diskArguments(p)...)
	args = append(args, c.networkArguments(forwards)...)
	return append(args, c.Args...)
}

// machineType is QEMU's name of the board.
func machineType(p Platform) string {
	switch {
	case p.Firmware == FirmwarePi3:
		return "raspi3b"
	case p.Arch == arm64:
		// The host's under KVM; else 3, which has no limit of 8 processors.
		const virt = "virt,gic-version=max"
		if p.Firmware == FirmwareUEFI {
			return virt
		}
		// U-Boot hands on a device tree, and QEMU has the power button there only without ACPI.
		return virt + ",acpi=off"
	default:
		return "q35,vmport=off"
	}
}

// arguments are none for the firmware that the machine has by itself.
func (f firmware) arguments() []string {
	switch {
	case f.bios != "":
		return []string{"-bios", f.bios}
	case f.code != "":
		return []string{
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(f.code),
			"-drive", "if=pflash,unit=1,format=raw,file=" + varsName,
		}
	}
	return nil
}

func (k kernelFiles) arguments() []string {
	if k.kernel == "" {
		return nil
	}
	args := []string{"-kernel", k.kernel, "-initrd", k.initrd, "-append", k.cmdline}
	if k.tree != "" {
		args = append(args, "-dtb", k.tree)
	}
	return args
}

func (c *Config) diskArguments(p Platform) []string {
	if c.Disk == DiskSD {
		return []string{"-drive", "if=sd," + drive}
	}
	args := []string{"-drive", "if=none,id=disk," + drive}
	if c.RecordWrites {
		args[1] = "if=none,id=disk,driver=blklogwrites,cache=writeback,discard=unmap,file.driver=qcow2,file.discard=unmap,file.file.driver=file,file.file.filename=" + diskName +
			fmt.Sprintf(",log.driver=file,log.filename=%s,log-sector-size=%d,log-append=off", writesName, writesSector)
	}
	device := func(d string) { args = append(args, "-device", d+",drive=disk,bootindex=0") }
	switch c.Disk {
	case DiskSATA:
		bus := "ide.0" // q35 has an AHCI controller
		if p.Arch == arm64 {
			args = append(args, "-device", "ahci,id=ahci")
			bus = "ahci.0"
		}
		device("ide-hd,bus=" + bus)
	case DiskNVMe:
		device("nvme,serial=keelson")
	case DiskUSB:
		device("usb-storage,bus=xhci.0")
	default:
		device("virtio-blk-pci")
	}
	return args
}

func (c *Config) networkArguments(forwards []Forward) []string {
	if c.NIC == NICNone {
		return []string{"-nic", "none"}
	}
	netdev := "user,id=net0"
	if c.Isolated {
		netdev += ",restrict=on"
	}
	for _, f := range forwards {
		netdev += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	// No option ROM: the machine never boots from the network.
	model := map[NIC]string{NICVirtio: "virtio-net-pci,romfile=", NICE1000E: "e1000e,romfile=", NICUSB: "usb-net"}[c.NIC]
	return []string{"-netdev", netdev, "-device", model + ",id=nic0,netdev=net0"}
}

// escape writes a value into a QEMU option list.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
