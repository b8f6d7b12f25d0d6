package qemu

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Bus is how the disk is attached.
type Bus string

// The buses.
const (
	DiskVirtio Bus = "virtio"
	DiskSATA   Bus = "sata"
	DiskNVMe   Bus = "nvme"
	DiskUSB    Bus = "usb" // a USB stick on xHCI
	DiskSD     Bus = "sd"  // the SD card of a raspi3b
)

// NIC is the model of the network card.
type NIC string

// The network cards. NICNone leaves the machine without one.
const (
	NICVirtio NIC = "virtio"
	NICE1000E NIC = "e1000e"
	NICUSB    NIC = "usb" // a USB adapter of the CDC Ethernet class
	NICNone   NIC = "none"
)

// Accel is how the processor is emulated.
type Accel string

// AccelAuto uses KVM when it has booted a machine of this host before, or does so now:
// /dev/kvm may exist and still not run a kernel. A boot under KVM that says nothing for
// a minute is started again under TCG, and that is remembered for this host.
const (
	AccelAuto Accel = "auto"
	AccelTCG  Accel = "tcg"
	AccelKVM  Accel = "kvm"
)

// Forward makes a TCP port of the machine reachable on the host's 127.0.0.1.
type Forward struct {
	Guest int
	Host  int // 0: any free port, chosen at Start; see Machine.Port
}

// Config describes a machine. The zero value of every field but Image and Dir is usable.
type Config struct {
	// Image is a disk image of keelson build, read only: raw, raw compressed with zstd (.zst),
	// qcow2, VMDK, VHD or VHDX. It must not change while Dir exists.
	Image string
	Dir   string // the machine's folder; made 0700 if missing
	// Firmware is what starts the machine; default: what the image is made for. The image
	// tells the architecture too.
	Firmware Firmware
	MemoryMB int   // MiB; default 2048; a raspi3b has 1024
	CPUs     int   // default 2; a raspi3b has 4
	Disk     Bus   // default virtio; a raspi3b has sd
	NIC      NIC   // default virtio; a raspi3b has usb, or none
	DiskSize int64 // bytes, of the virtual disk; default 20 GiB, at least the image's size; an SD card's is rounded up to a power of two
	Accel    Accel // default auto
	Forwards []Forward
	Isolated bool // the machine reaches neither the host nor the world; forwards still work
	LinkDown bool // start with the network cable pulled; see Machine.SetLink
	Detach   bool // the machine outlives this process
	// RecordWrites keeps everything that the machine writes to its disk, in order: see Machine.Writes. Not for an SD card.
	RecordWrites bool
	Args         []string // appended to QEMU's command line
}

// complete fills in the defaults that are every machine's and refuses what none has; fit does
// the rest.
func (c *Config) complete() error {
	c.Accel = cmp.Or(c.Accel, AccelAuto)
	c.DiskSize = cmp.Or(c.DiskSize, 20<<30)
	var errs []error
	if c.Image == "" || c.Dir == "" {
		errs = append(errs, errors.New("a machine needs an image and a folder"))
	}
	if c.MemoryMB != 0 && c.MemoryMB < 256 {
		errs = append(errs, fmt.Errorf("memory: %d MiB is less than the 256 MiB that the firmware and the kernel need to start", c.MemoryMB))
	}
	if c.CPUs < 0 || c.CPUs > 255 {
		errs = append(errs, fmt.Errorf("cpus: found %d, expected 1 to 255", c.CPUs))
	}
	if !slices.Contains([]Firmware{"", FirmwareUEFI, FirmwareBIOS, FirmwareUBoot, FirmwareNone, FirmwarePi3}, c.Firmware) {
		errs = append(errs, fmt.Errorf("firmware: found %q, expected uefi, bios, u-boot, none or raspi3b", c.Firmware))
	}
	if !slices.Contains([]Bus{"", DiskVirtio, DiskSATA, DiskNVMe, DiskUSB, DiskSD}, c.Disk) {
		errs = append(errs, fmt.Errorf("disk: found %q, expected virtio, sata, nvme or usb", c.Disk))
	}
	if !slices.Contains([]NIC{"", NICVirtio, NICE1000E, NICUSB, NICNone}, c.NIC) {
		errs = append(errs, fmt.Errorf("nic: found %q, expected virtio, e1000e, usb or none", c.NIC))
	}
	if !slices.Contains([]Accel{AccelAuto, AccelTCG, AccelKVM}, c.Accel) {
		errs = append(errs, fmt.Errorf("accel: found %q, expected auto, tcg or kvm", c.Accel))
	}
	if c.NIC == NICNone && (len(c.Forwards) > 0 || c.LinkDown) {
		errs = append(errs, errors.New("nic: none excludes forwarded ports and a pulled cable; use a card with its cable pulled"))
	}
	return errors.Join(errs...)
}

// ErrPortInUse means that a forwarded port of the host is taken.
var ErrPortInUse = errors.New("the port is in use")

// freePorts fills in the host ports that are 0 and checks the others. Between this and
// QEMU's own bind another process may take one; Start then fails and may be tried again.
func freePorts(want []Forward) ([]Forward, error) {
	out := slices.Clone(want)
	for k := range out {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(out[k].Host)))
		if err != nil {
			return nil, fmt.Errorf("forward 127.0.0.1:%d to the machine's port %d: %w: %w", out[k].Host, out[k].Guest, ErrPortInUse, err)
		}
		// Kept open until all are chosen, so that no port is chosen twice.
		defer l.Close()
		out[k].Host = l.Addr().(*net.TCPAddr).Port
	}
	return out, nil
}
