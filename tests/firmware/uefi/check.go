package uefi

import (
	"bytes"
	"cmp"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/arm64"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Arch is a processor as UEFI names it.
type Arch struct {
	Name    string
	Suffix  string // of BOOTXXX.EFI
	Machine uint16 // of the PE header
}

// The architectures.
var (
	AMD64 = Arch{"UEFI, x86-64", "X64", pe.IMAGE_FILE_MACHINE_AMD64}
	ARM64 = Arch{"UEFI, arm64", "AA64", pe.IMAGE_FILE_MACHINE_ARM64}
)

// counter is what boot counting puts behind an entry's name: tries left, and tries done.
var counter = regexp.MustCompile(`^(.*?)(?:\+(\d+)(?:-(\d+))?)?\.efi$`)

// Check reads the disk as the firmware and systemd-boot do. The Report has the UKI that would be started.
func Check(image io.ReaderAt, size int64, arch Arch) (firmware.Report, error) {
	r := firmware.Report{Machine: arch.Name}
	table, err := disk.Read(image, size)
	if err != nil {
		return r, err
	}
	var esp *disk.Partition
	for i, p := range table.Partitions {
		if table.GPT && p.Type == disk.TypeESP || !table.GPT && p.Type == disk.TypeMBRESP {
			if esp != nil {
				r.Faultf("partitions %d and %d are both EFI system partitions", esp.Number, p.Number)
				continue
			}
			esp = &table.Partitions[i]
		}
	}
	if esp == nil {
		r.Faultf("no EFI system partition")
		return r, nil
	}
	fat, err := disk.OpenFAT(image, *esp)
	if err != nil {
		r.Faultf("%v", err)
		return r, nil
	}
	if fat.Unequal() {
		r.Faultf("%s", disk.Unequal)
	}
	loader := "EFI/BOOT/BOOT" + arch.Suffix + ".EFI"
	data, err := fat.ReadFile(loader)
	if err != nil {
		r.Faultf("%v", err)
		return r, nil
	}
	r.Load("firmware", loader, int64(len(data)), firmware.Range{})
	if _, err := parsePE(data, arch); err != nil {
		r.Faultf("%s: %v", loader, err)
	}
	if !bytes.Contains(data, []byte("#### LoaderInfo: systemd-boot ")) {
		r.Faultf("%s: is not systemd-boot: this reader does not know what it would start", loader)
		return r, nil
	}
	if conf, err := fat.ReadFile("loader/loader.conf"); err == nil {
		r.Load("systemd-boot", "loader/loader.conf", int64(len(conf)), firmware.Range{})
	}
	if names, err := fat.List("loader/entries"); err == nil && len(names) > 0 {
		r.Faultf("loader/entries: %v are entries of type 1 beside the UKIs", names)
	}
	ukis(&r, fat, arch)
	return r, nil
}

// uki is an entry of the menu.
type uki struct {
	file             string // path
	name             string // without counter
	left             int    // tries left; -1 without a counter
	done             int    // tries done
	key              string
	version, cmdline string
	initrd           bool
}

func ukis(r *firmware.Report, fat *disk.FAT, arch Arch) {
	names, err := fat.List("EFI/Linux")
	if err != nil {
		r.Faultf("EFI/Linux: %v", err)
		return
	}
	var list []uki
	for _, n := range names {
		m := counter.FindStringSubmatch(strings.ToLower(n))
		if m == nil {
			r.Notef("EFI/Linux/%s: is no .efi file: systemd-boot passes over it", n)
			continue
		}
		u := uki{file: "EFI/Linux/" + n, name: m[1], left: -1}
		if m[2] != "" {
			if u.left, err = strconv.Atoi(m[2]); err != nil {
				r.Faultf("%s: %v", u.file, err)
			}
			if m[3] != "" {
				if u.done, err = strconv.Atoi(m[3]); err != nil {
					r.Faultf("%s: %v", u.file, err)
				}
			}
		} else if strings.Contains(n, "+") {
			r.Faultf("%s: the boot counter is not +LEFT or +LEFT-DONE", u.file)
		}
		data, err := fat.ReadFile(u.file)
		if err != nil {
			r.Faultf("%v", err)
			continue
		}
		r.Load("systemd-boot", u.file, int64(len(data)), firmware.Range{})
		if err := u.read(data, arch); err != nil {
			r.Faultf("%s: %v", u.file, err)
		}
		list = append(list, u)
	}
	if len(list) == 0 {
		r.Faultf("EFI/Linux: no unified kernel image")
		return
	}
	slices.SortStableFunc(list, order)
	first := list[0]
	if first.left == 0 {
		r.Faultf("%s: no tries are left, and there is no other entry", first.file)
	}
	r.Kernel, r.Cmdline = first.file, first.cmdline
	if first.initrd {
		r.Initrd = first.file
	}
}

// order is how systemd-boot sorts its menu, the first of which it starts (sd-boot(7), "Entry sorting"; systemd 257,
// boot_entry_compare): those without tries left last; by sort key, which comes before entries without one; the newer version, the newer
// name, and then the one with more tries left first.
func order(a, b uki) int {
	c := cmp.Or(cmp.Compare(b2i(a.left == 0), b2i(b.left == 0)), cmp.Compare(b2i(a.key == ""), b2i(b.key == "")))
	if c == 0 && a.key != "" {
		c = cmp.Or(cmp.Compare(a.key, b.key), -compareVersions(a.version, b.version))
	}
	if c = cmp.Or(c, -compareVersions(a.name, b.name)); c == 0 && a.left >= 0 && b.left >= 0 {
		c = cmp.Or(-cmp.Compare(a.left, b.left), cmp.Compare(a.done, b.done))
	}
	return c
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// read checks the sections of a UKI.
func (u *uki) read(data []byte, arch Arch) error {
	f, err := parsePE(data, arch)
	if err != nil {
		return err
	}
	section := func(name string) ([]byte, error) {
		s := f.Section(name)
		if s == nil {
			return nil, fmt.Errorf("has no section %s", name)
		}
		b, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", name, err)
		}
		// What is in memory only is zeros: a kernel's room to run in place (ukify gives it to .linux since systemd 257).
		return b[:min(int64(s.VirtualSize), int64(len(b)))], nil
	}
	var errs []error
	linux, err := section(".linux")
	if err == nil {
		err = kernel(linux, arch)
	}
	errs = append(errs, err)
	initrd, err := section(".initrd")
	if u.initrd = err == nil && len(initrd) > 0; err == nil && !u.initrd {
		err = errors.New("section .initrd is empty")
	}
	errs = append(errs, err)
	cmdline, err := section(".cmdline")
	if u.cmdline = strings.TrimRight(string(cmdline), " \n\x00"); err == nil && u.cmdline == "" {
		err = errors.New("section .cmdline is empty")
	}
	errs = append(errs, err)
	if strings.ContainsAny(u.cmdline, "\n\x00") || len(u.cmdline) >= 2048 {
		errs = append(errs, fmt.Errorf("section .cmdline: %d characters, want one line of up to 2047", len(u.cmdline)))
	}
	osrel, err := section(".osrel")
	errs = append(errs, err)
	fields := map[string]string{}
	for line := range strings.SplitSeq(string(osrel), "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			fields[k] = strings.Trim(v, `"'`)
		}
	}
	// systemd-boot shows no entry without a name (systemd 257, bootspec_pick_name_version_sort_key).
	if err == nil && cmp.Or(fields["PRETTY_NAME"], fields["IMAGE_ID"], fields["NAME"], fields["ID"]) == "" {
		errs = append(errs, errors.New("section .osrel: no name"))
	}
	u.key = cmp.Or(fields["IMAGE_ID"], fields["ID"])
	u.version = cmp.Or(fields["IMAGE_VERSION"], fields["VERSION"], fields["VERSION_ID"], fields["BUILD_ID"])
	return errors.Join(errs...)
}

// kernel checks what the stub starts: a PE file, as kernels are for UEFI.
func kernel(data []byte, arch Arch) error {
	if _, err := parsePE(data, arch); err != nil {
		return fmt.Errorf("section .linux: %w", err)
	}
	if arch.Machine == pe.IMAGE_FILE_MACHINE_ARM64 {
		if _, err := arm64.Parse(data); err != nil {
			return fmt.Errorf("section .linux: %w", err)
		}
		return nil
	}
	// boot.rst: "HdrS" at 0x202; version 2.11 has the EFI handover, the 64-bit entry is a flag.
	if len(data) < 0x240 || string(data[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(data[0x206:]) < 0x20b {
		return errors.New(`section .linux: no x86 kernel ("HdrS" at 0x202)`)
	}
	return nil
}

// parsePE checks a program for UEFI: machine, subsystem, and that its sections are in the file and clear of each other.
func parsePE(data []byte, arch Arch) (*pe.File, error) {
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("PE: %w", err)
	}
	if f.Machine != arch.Machine {
		return nil, fmt.Errorf("PE machine %#x, want %#x", f.Machine, arch.Machine)
	}
	o, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || o.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION {
		return nil, errors.New("PE: no 64-bit EFI application")
	}
	s := slices.Clone(f.Sections)
	slices.SortFunc(s, func(a, b *pe.Section) int { return cmp.Compare(a.VirtualAddress, b.VirtualAddress) })
	for i, x := range s {
		if int64(x.Offset)+int64(x.Size) > int64(len(data)) {
			return nil, fmt.Errorf("PE section %s: bytes [%d, %d) of %d", x.Name, x.Offset, int64(x.Offset)+int64(x.Size), len(data))
		}
		if uint64(x.VirtualAddress)+uint64(x.VirtualSize) > uint64(o.SizeOfImage) {
			return nil, fmt.Errorf("PE section %s: ends at %#x in memory, SizeOfImage is %#x", x.Name, uint64(x.VirtualAddress)+uint64(x.VirtualSize), o.SizeOfImage)
		}
		if i > 0 && uint64(s[i-1].VirtualAddress)+uint64(s[i-1].VirtualSize) > uint64(x.VirtualAddress) {
			return nil, fmt.Errorf("PE sections %s and %s overlap in memory", s[i-1].Name, x.Name)
		}
	}
	return f, nil
}
