package bootcontrol

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/upgrade/fat"
)

// Chain is what starts a node: which boot loader reads which blocks and names.
type Chain string

// The boot chains.
const (
	UEFI     Chain = "uefi"      // systemd-boot
	UEFIGRUB Chain = "uefi+grub" // systemd-boot, and on a BIOS GRUB, from the same disk
	UBoot    Chain = "u-boot"
	Pi       Chain = "pi" // Raspberry Pi's firmware starts the kernel itself, and cannot count
)

// Firmware is what started this machine, where the disk has a boot loader for either.
type Firmware int

// The kinds of firmware.
const (
	AnyFirmware  Firmware = iota // not known
	UEFIFirmware                 // /sys/firmware/efi is there
	BIOSFirmware
)

// FirmwareOf returns what started this machine, by whether efi, /sys/firmware/efi, is there.
func FirmwareOf(efi string) Firmware {
	if _, err := os.Stat(efi); errors.Is(err, fs.ErrNotExist) {
		return BIOSFirmware
	}
	return UEFIFirmware
}

// EFIFolder is there when UEFI started the machine.
const EFIFolder = "/sys/firmware/efi"

// File is a boot file of a slot, named as in a bundle: "uki.efi"; "linux", "initrd.img", "boot.env", "cmdline.txt",
// "dtb/rockchip/rk3328-rock64.dtb".
type File struct {
	Name string
	Size int64 // bytes
}

var (
	// ErrInUse says that a slot's boot files cannot be changed: a boot loader takes it for the default or has it on trial.
	// Commit the booted slot first.
	ErrInUse = errors.New("the slot is the default or on trial")
	// ErrNotComplete says that a slot has not the boot files that its boot loader needs.
	ErrNotComplete = errors.New("the slot's boot files are not complete")
	// ErrUnknown says that the disk is none that this package knows how to start.
	ErrUnknown = errors.New("no boot chain that is known")
)

// Node is a node's disk, seen as its boot loaders do. It implements Control.
// Nobody else may change the disk's FAT partition or bootstate area at the same time, or have the FAT partition mounted for writing.
// Every method reads the disk anew.
type Node struct {
	disk     Disk
	chain    Chain
	firmware Firmware
	esp      extent
	roots    map[Slot]extent
	loaders  []loader // that read the disk; the first one is that of the machine where both are possible
	files    files
}

var _ Control = (*Node)(nil)

// extent is bytes [offset, offset+size) of the disk.
type extent struct{ offset, size int64 }

// loader is what one boot loader reads and writes. arm and commit are as in Control, without its checks.
type loader interface {
	state() (State, error)
	arm(slot Slot) error
	commit(slot Slot) error
	settled(slot Slot) (bool, error) // commit(slot) would change nothing
}

// files is where one boot chain has the boot files of a slot.
type files interface {
	list(v *fat.Volume, slot Slot) ([]File, error)
	path(v *fat.Volume, slot Slot, name string) (string, error) // of a file that is there, on the FAT partition
	write(v *fat.Volume, slot Slot, name string, size int64, r io.Reader) error
	remove(v *fat.Volume, slot Slot) error
	complete(v *fat.Volume, slot Slot) error // nil when slot can be started; wraps ErrNotComplete
}

// Open finds out what starts from a disk. Nothing is written.
// Errors: ErrUnknown, those of package parttable and fat for damaged tables, those of the disk.
func Open(d Disk) (*Node, error) {
	t, err := parttable.Read(d, d.Size())
	if err != nil {
		return nil, fmt.Errorf("boot control: partition table: %w", err)
	}
	n := &Node{disk: d, roots: map[Slot]extent{}}
	for name, into := range map[string]func(extent){
		"esp":    func(e extent) { n.esp = e },
		"root-a": func(e extent) { n.roots[A] = e },
		"root-b": func(e extent) { n.roots[B] = e },
	} {
		number, ok := t.Find(name)
		if !ok {
			return nil, fmt.Errorf("boot control: %w: the disk has no partition %s", ErrUnknown, name)
		}
		off, size := t.Extent(number)
		into(extent{off, size})
	}
	v, err := n.volume()
	if err != nil {
		return nil, err
	}
	_, bios := t.Find("bios")
	if err := n.recognise(v, bios); err != nil {
		return nil, err
	}
	return n, nil
}

// recognise finds the boot chain by what is on the FAT partition and in the bootstate area; bios: there is a partition with GRUB's core image.
func (n *Node) recognise(v *fat.Volume, bios bool) error {
	has := func(path string) (bool, error) {
		_, err := v.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	for _, c := range []struct {
		mark  string
		chain Chain
	}{{"boot.scr", UBoot}, {"slot.txt", Pi}, {"EFI/Linux", UEFI}} {
		ok, err := has(c.mark)
		if err != nil {
			return fmt.Errorf("boot control: %w", err)
		}
		if !ok {
			continue
		}
		n.chain = c.chain
		break
	}
	switch n.chain {
	case UBoot:
		n.files, n.loaders = folders{need: []string{"linux", "initrd.img", "boot.env"}}, []loader{blockLoader{ubootBlocks{n.disk}}}
	case Pi:
		n.files, n.loaders = folders{need: []string{"linux", "initrd.img", "cmdline.txt"}}, []loader{piLoader{n}}
	case UEFI:
		n.files, n.loaders = ukis{}, []loader{uefiLoader{n}}
		if !bios {
			var err error
			if bios, err = hasGRUB(n.disk); err != nil {
				return err
			}
		}
		if bios {
			n.chain, n.loaders = UEFIGRUB, append(n.loaders, blockLoader{grubBlocks{n.disk}})
		}
	default:
		return fmt.Errorf("boot control: %w: the FAT partition has none of boot.scr, slot.txt and EFI/Linux", ErrUnknown)
	}
	return nil
}

// StartedBy says which firmware started this machine: on a disk for both, State is then what that one's boot loader will do.
// Before it, or with AnyFirmware, State is UEFI's, with the fewer tries left of the two where both have the same slot on trial.
func (n *Node) StartedBy(f Firmware) { n.firmware = f }

// Chain returns the boot chain.
func (n *Node) Chain() Chain { return n.chain }

// Counts reports whether the boot loader counts the tries itself. Where it does not, PID 1 calls Count as its first act in a trial.
func (n *Node) Counts() bool { return n.chain != Pi }

// Root returns where a slot's root partition lies on the disk, bytes.
func (n *Node) Root(slot Slot) (offset, size int64) {
	e := n.roots[slot]
	return e.offset, e.size
}

// volume opens the FAT partition. Its disk is the part of the node's.
func (n *Node) volume() (*fat.Volume, error) {
	v, err := fat.Open(&part{n.disk, n.esp}, n.esp.size)
	if err != nil {
		return nil, fmt.Errorf("boot control: the FAT partition at byte %d: %w", n.esp.offset, err)
	}
	return v, nil
}

// mend opens the FAT partition to change it, and mends what a power cut left there.
func (n *Node) mend() (*fat.Volume, error) {
	v, err := n.volume()
	if err != nil {
		return nil, err
	}
	if err := v.Heal(); err != nil {
		return nil, fmt.Errorf("boot control: mend the FAT partition: %w", err)
	}
	if _, ok := n.files.(ukis); ok {
		if err := (ukis{}).tidy(v); err != nil {
			return nil, fmt.Errorf("boot control: mend the FAT partition: %w", err)
		}
	}
	return v, nil
}

// part is a partition as the disk of package fat.
type part struct {
	disk Disk
	at   extent
}

func (p *part) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(b)) > p.at.size {
		return 0, io.ErrUnexpectedEOF
	}
	return p.disk.ReadAt(b, p.at.offset+off)
}

func (p *part) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(b)) > p.at.size {
		return 0, fmt.Errorf("BUG: write of bytes [%d, %d) of a partition of %d", off, off+int64(len(b)), p.at.size)
	}
	return p.disk.WriteAt(b, p.at.offset+off)
}

func (p *part) Sync() error { return p.disk.Sync() }
