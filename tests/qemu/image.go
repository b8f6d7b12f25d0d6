package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// imageFacts is what an image's own content says of the machines that can boot it. The
// builder's manifest is not asked: it may be missing, or be that of another build.
type imageFacts struct {
	arch      string
	chain     string     // how it starts, for people
	firmwares []Firmware // that start it; the first is the default
	refuse    string     // not empty: why there is no default, and what to do
}

// table is what is read of a partition table.
type table struct {
	fat      disk.Partition // the one with the boot files; only its number and place are known
	biosBoot bool           // has a partition for the core of a BIOS boot loader
}

// inspect reads a raw image's partition table and its FAT partition's root.
func inspect(path string) (_ *imageFacts, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t, fat, err := openBoot(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	facts, err := classify(t, fat)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return facts, nil
}

// openBoot finds a raw image's boot partition and opens its file system, which is FAT32 on every board.
func openBoot(r io.ReaderAt) (table, *disk.FAT, error) {
	t, err := readTable(r)
	if err != nil {
		return table{}, nil, err
	}
	fat, err := disk.OpenFAT(r, t.fat)
	if err == nil && !fat.FAT32() {
		err = errors.New("its file system is FAT16, expected FAT32")
	}
	if err != nil {
		return table{}, nil, fmt.Errorf("the boot partition at byte %d: %w", t.fat.Start, err)
	}
	return t, fat, nil
}

// classify tells the boot chain by the files that its firmware looks for.
func classify(t table, fat *disk.FAT) (*imageFacts, error) {
	var errs []error
	has := func(name string) bool {
		_, err := fat.Size(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, disk.ErrFolder) {
			errs = append(errs, err)
		}
		return err == nil
	}
	var facts *imageFacts
	switch {
	case has("EFI/BOOT/BOOTX64.EFI"):
		facts = &imageFacts{arch: amd64, chain: "a UEFI boot loader alone", firmwares: []Firmware{FirmwareUEFI}}
		if t.biosBoot {
			facts.chain = "boot loaders for UEFI and BIOS"
			facts.firmwares = append(facts.firmwares, FirmwareBIOS)
		}
	case has("EFI/BOOT/BOOTAA64.EFI"):
		facts = &imageFacts{arch: arm64, chain: "a UEFI boot loader for arm64", firmwares: []Firmware{FirmwareUEFI}}
	case has("boot.scr"):
		facts = &imageFacts{arch: arm64, chain: "U-Boot's script for arm64", firmwares: []Firmware{FirmwareUBoot, FirmwareNone}}
		if has(pi3Tree) {
			facts.firmwares = append(facts.firmwares, FirmwarePi3)
		}
	case has("config.txt") && has("slot.txt"):
		facts = &imageFacts{arch: arm64, chain: "the firmware of a Raspberry Pi 5", firmwares: []Firmware{FirmwareNone},
			refuse: "only the firmware of a Raspberry Pi 5 can start it, and QEMU has no such board; firmware \"none\" starts the kernel of slot a on a generic arm64 machine instead"}
	default:
		errs = append(errs, errors.New("its boot partition has no boot loader that is known (EFI/BOOT/BOOTX64.EFI, EFI/BOOT/BOOTAA64.EFI, boot.scr, or config.txt with slot.txt), expected a disk image made by keelson build"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return facts, nil
}

// Partition type GUIDs in the byte order of the disk.
// Source: UEFI specification 2.10, section 5.3.3; GRUB manual, "BIOS installation".
const (
	guidESP      = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"
	guidBIOSBoot = "Hah!IdontNeedEFI"
)

const sector = disk.SectorSize

// readTable finds the boot partition: on GPT the ESP, on MBR the first FAT partition.
// disk.Read is stricter: it refuses a GUID partition table whose backup is not at the image's end, where a
// fixed VHD has its footer.
// Source: UEFI specification 2.10, sections 5.2.1 and 5.3.
func readTable(r io.ReaderAt) (table, error) {
	var head [2 * sector]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return table{}, fmt.Errorf("has no partition table, expected a disk image made by keelson build: %w", err)
	}
	if string(head[sector:sector+8]) == "EFI PART" {
		return readGPT(r, head[sector:])
	}
	if head[510] != 0x55 || head[511] != 0xaa {
		return table{}, errors.New("has no partition table, expected a disk image made by keelson build")
	}
	for k := range 4 {
		e := head[446+16*k:][:16]
		switch e[4] {
		case 0x0b, 0x0c, 0xef: // FAT32 by CHS or LBA, ESP
			return table{fat: disk.Partition{
				Number: k + 1,
				Start:  int64(binary.LittleEndian.Uint32(e[8:])) * sector,
				Size:   int64(binary.LittleEndian.Uint32(e[12:])) * sector,
			}}, nil
		}
	}
	return table{}, errors.New("its partition table (MBR) has no FAT32 partition, expected a disk image made by keelson build")
}

func readGPT(r io.ReaderAt, header []byte) (table, error) {
	first := binary.LittleEndian.Uint64(header[72:])
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if first > 1<<20 || count > 1024 || size < 128 || size > 1024 {
		return table{}, fmt.Errorf("its GUID partition table is damaged: %d entries of %d bytes at sector %d", count, size, first)
	}
	entries := make([]byte, int(count)*int(size))
	if _, err := r.ReadAt(entries, int64(first)*sector); err != nil {
		return table{}, fmt.Errorf("read the GUID partition table: %w", err)
	}
	var t table
	for k := range int(count) {
		e := entries[k*int(size):]
		switch string(e[:16]) {
		case guidESP:
			from, to := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
			if from > to || to >= 1<<40 {
				return table{}, fmt.Errorf("its GUID partition table is damaged: the ESP has sectors %d to %d", from, to)
			}
			if t.fat.Size == 0 {
				t.fat = disk.Partition{Number: k + 1, Start: int64(from) * sector, Size: int64(to-from+1) * sector}
			}
		case guidBIOSBoot:
			t.biosBoot = true
		}
	}
	if t.fat.Size == 0 {
		return table{}, errors.New("its GUID partition table has no ESP, expected a disk image made by keelson build")
	}
	return t, nil
}

// format is how an image file stores a disk, in QEMU's words.
type format string

const (
	formatRaw  format = "raw"
	formatZstd format = "zst" // a raw disk, compressed
)

// magics are how the first bytes tell a format. Formats are never left to QEMU to guess:
// a raw disk whose first sector looks like another format could name any file of the host.
var magics = []struct {
	magic  string
	format format
}{
	{"\x28\xb5\x2f\xfd", formatZstd},
	{"QFI\xfb", "qcow2"},
	{"KDMV", "vmdk"},
	{"conectix", "vpc"}, // a dynamic VHD; a fixed one is a raw disk with a footer
	{"vhdxfile", "vhdx"},
}

// imageFormat looks at the first bytes of a file.
func imageFormat(path string) (_ format, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s: is not a regular file, expected a disk image made by keelson build", path)
	}
	var head [8]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	for _, m := range magics {
		if strings.HasPrefix(string(head[:n]), m.magic) {
			return m.format, nil
		}
	}
	return formatRaw, nil
}
