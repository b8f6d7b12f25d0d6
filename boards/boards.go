// Package boards holds the kinds of machine that Keelson is built for. A board is data: a
// folder with board.yaml, packages.lock (which Debian packages an image is made of; see package
// imagebuilder/pkgs), README.md, and if it needs them a folder boot with files for the root of its FAT partition and a
// folder root with files that are laid over the root, at their paths there. The folders are part of the program. Files of the folder lists hold what several boards share.
//
// board.yaml is read strictly: a key that is not described by Board is refused.
package boards

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed all:*/*
var embedded embed.FS

// Board describes one kind of machine. It is read-only after Load.
type Board struct {
	// Name is the folder's name: lower case letters, digits and hyphens.
	Name string `yaml:"name"`
	// Description is one line for people.
	Description string `yaml:"description"`
	// Arch is Debian's and Go's name of the architecture: amd64 or arm64.
	Arch string `yaml:"arch"`
	// Boot is the boot chain, one of the Boot constants.
	Boot string `yaml:"boot"`
	// BIOS names the loader for machines without UEFI: BIOSGRUB, or empty for none.
	BIOS string `yaml:"bios"`
	// Table is the kind of partition table: TableGPT (also if empty) or TableMBR.
	Table string `yaml:"table"`
	// Suite is the Debian release the packages come from, e.g. "trixie".
	Suite string `yaml:"suite"`
	// Kernel is the Debian kernel meta package, e.g. "linux-image-amd64", or with another suite of the
	// archive as apt writes it, "linux-image-arm64/trixie-backports".
	Kernel string `yaml:"kernel"`
	// Packages are further Debian packages that hold what this board needs: boot loader,
	// firmware. They are unpacked without their dependencies.
	Packages []string `yaml:"packages"`
	// Cmdline is added to every kernel command line of this board.
	Cmdline []string `yaml:"cmdline"`
	// Consoles are the kernel consoles, the last one is /dev/console: "ttyS0,115200".
	Consoles []string `yaml:"consoles"`
	// Modules says which kernel modules go where.
	Modules Modules `yaml:"modules"`
	// Overlays are names of folders of overlays/ that are laid over the root, in this order,
	// after the one of every root and before RootFiles.
	Overlays []string `yaml:"overlays"`
	// Firmware are path.Match patterns below usr/lib/firmware. Each must match.
	Firmware []string `yaml:"firmware"`
	// Partitions are laid out in this order, without gaps, from disk.FirstOffset on.
	Partitions []Partition `yaml:"partitions"`
	// Lists are names of lists (lists/NAME.yaml), whose modules and firmware are added to the board's.
	Lists []string `yaml:"lists"`
	// DeviceTrees are path.Match patterns below the kernel package's device trees
	// ("broadcom/bcm2711-rpi-4-b.dtb"). Each must match. Where they go depends on the boot chain.
	DeviceTrees []string `yaml:"device_trees"`
	// Files are copied from packages to the FAT partition.
	Files []PackageFile `yaml:"files"`
	// Raw are written to fixed places of the disk, before the first partition.
	Raw []Raw `yaml:"raw"`
	// UBoot says how U-Boot starts the kernel; BootUBoot boards have it.
	UBoot *UBoot `yaml:"u_boot"`

	// Lock is packages.lock.
	Lock []byte `yaml:"-"`
	// BootFiles are the files of the folder boot, by path below it.
	BootFiles map[string][]byte `yaml:"-"`
	// RootFiles are the files of the folder root, by path below it.
	RootFiles map[string][]byte `yaml:"-"`
}

// The boot chains.
const (
	// BootSystemd is UEFI, systemd-boot and a UKI per slot on the ESP.
	BootSystemd = "systemd-boot"
	// BootUBoot is U-Boot's standard boot with boot.scr, see package imagebuilder/uboot.
	BootUBoot = "u-boot"
	// BootPi is the Raspberry Pi firmware starting the kernel itself, see package imagebuilder/pi.
	BootPi = "pi"
)

// BIOSGRUB is GRUB, started by a BIOS; see package imagebuilder/grub.
const BIOSGRUB = "grub"

// The partition tables. An MBR has no names: esp, root-a, root-b and state are its four
// partitions in this order, and bootstate is a place without an entry.
const (
	TableGPT = "gpt"
	TableMBR = "mbr"
)

// PackageFile is a file, or the files of a pattern, of a Debian package.
type PackageFile struct {
	Package string `yaml:"package"`
	From    string `yaml:"from"` // path.Match pattern below the package's root
	// To is the path on the FAT partition; a folder if it ends in "/" , then names are kept.
	To string `yaml:"to"`
}

// Raw is a file of a package that a boot ROM reads from a fixed place of the disk.
type Raw struct {
	Package string `yaml:"package"`
	From    string `yaml:"from"` // path below the package's root
	At      Size   `yaml:"at"`   // byte offset on the disk
}

// UBoot are the places in memory where boot.scr loads things, and which device tree it takes.
type UBoot struct {
	Kernel  Address `yaml:"kernel"`  // the Image, uncompressed; its BSS follows
	Initrd  Address `yaml:"initrd"`  //
	FDT     Address `yaml:"fdt"`     // device tree; unused if the firmware gives one
	Scratch Address `yaml:"scratch"` // for blocks of boot state and boot.env, 64 KiB
	// DeviceTree is "firmware" (the one that U-Boot was given, ${fdt_addr}) or "file"
	// (${fdtfile} below the slot's dtb folder).
	DeviceTree string `yaml:"device_tree"`
}

// Address is an address in memory, in YAML hexadecimal with 0x.
type Address uint64

// UnmarshalYAML reads "0x2000000".
func (a *Address) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0x"), 16, 64)
	if err != nil || !strings.HasPrefix(n.Value, "0x") {
		return fmt.Errorf("line %d: address %q: want hexadecimal digits after 0x", n.Line, n.Value)
	}
	*a = Address(v)
	return nil
}

// Modules are the selections of kernel modules of a board.
type Modules struct {
	Root      Selection `yaml:"root"`
	Initramfs Selection `yaml:"initramfs"`
	// Load are names of modules that are loaded at boot though no device asks for them ("i2c-dev").
	// They are in the root, selected there or not.
	Load []string `yaml:"load"`
}

// Selection chooses modules by path below the kernel tree's "kernel" folder, without ".ko" and
// what follows: "drivers/net/veth" is a module, "drivers/ata" everything in a folder,
// "fs/nls/nls_*" a path.Match pattern. A pattern that matches nothing is an error. What
// a chosen module depends on is chosen as well, excluded or not.
type Selection struct {
	Include []string `yaml:"include"`
	Exclude []string `yaml:"exclude"`
}

// Partition is one partition of the board's disk.
type Partition struct {
	Name string `yaml:"name"` // the GPT partition name
	Size Size   `yaml:"size"` // bytes in the image, a multiple of 1 MiB
	// At is the byte offset on the disk, a multiple of 1 MiB below disk.FirstOffset; 0: after the
	// partition before it.
	At Size `yaml:"at"`
}

// Size is a number of bytes; in YAML "8 KiB", "512 MiB" or "1 GiB".
type Size int64

// PartitionSize returns the size in bytes of the partition named name, 0 if there is none.
func (b *Board) PartitionSize(name string) int64 {
	for _, p := range b.Partitions {
		if p.Name == name {
			return int64(p.Size)
		}
	}
	return 0
}

// UnknownError is returned by Load for a name that is no board.
type UnknownError struct {
	Name    string
	Boards  []string
	Nearest string // empty when nothing is near
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("unknown board %q", e.Name)
	if e.Nearest != "" {
		return s + fmt.Sprintf("; did you mean %q? (\"keelson boards\" lists them: %s)", e.Nearest, strings.Join(e.Boards, ", "))
	}
	return s + "; expected one of: " + strings.Join(e.Boards, ", ")
}

// List returns the names of all boards, sorted.
func List() []string { return list(embedded) }

// Load returns the board named name. Errors: *UnknownError; a fault in board.yaml with its
// file and line, which is a fault of this repository.
func Load(name string) (*Board, error) { return load(embedded, name) }

func list(fsys fs.FS) []string {
	files, err := fs.Glob(fsys, "*/board.yaml")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = path.Dir(f)
	}
	slices.Sort(names)
	return names
}

func load(fsys fs.FS, name string) (*Board, error) {
	names := list(fsys)
	if !slices.Contains(names, name) {
		return nil, &UnknownError{Name: name, Boards: names, Nearest: Nearest(name, names)}
	}
	text, err := fs.ReadFile(fsys, name+"/board.yaml")
	if err != nil {
		return nil, err
	}
	b, err := parse("boards/"+name+"/board.yaml", text)
	if err != nil {
		return nil, err
	}
	if b.Name != name {
		return nil, fmt.Errorf("boards/%s/board.yaml: name is %q, want the folder's name %q", name, b.Name, name)
	}
	if err := b.addLists(fsys); err != nil {
		return nil, fmt.Errorf("boards/%s/board.yaml: %w", name, err)
	}
	if len(b.Modules.Root.Include) == 0 || len(b.Modules.Initramfs.Include) == 0 {
		return nil, fmt.Errorf("boards/%s/board.yaml: modules: root.include and initramfs.include must not be empty", name)
	}
	if b.Lock, err = fs.ReadFile(fsys, name+"/packages.lock"); err != nil {
		return nil, err
	}
	if b.BootFiles, err = folder(fsys, name+"/boot"); err != nil {
		return nil, err
	}
	if b.RootFiles, err = folder(fsys, name+"/root"); err != nil {
		return nil, err
	}
	return b, nil
}

// folder reads the files of a folder, by path below it. One that is not there has none.
func folder(fsys fs.FS, name string) (map[string][]byte, error) {
	sub, err := fs.Sub(fsys, name)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = fs.WalkDir(sub, ".", func(p string, d fs.DirEntry, err error) error {
		if p == "." && errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if err == nil && !d.IsDir() {
			files[p], err = fs.ReadFile(sub, p)
		}
		return err
	})
	return files, err
}

// unknownKey is how yaml.v3 reports one: "line 3: field colour not found in type boards.Board".
var unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type .*$`)

// atLine is how it reports everything else.
var atLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// parse reads a board.yaml. file is used in errors.
func parse(file string, text []byte) (*Board, error) {
	b := &Board{}
	if err := decode(file, text, b); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// decode reads one YAML document strictly.
func decode(file string, text []byte, to any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: the file is empty", file)
		}
		return locate(file, err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", file)
	}
	return nil
}

// locate turns a YAML error into one error per fault, each as file:line: text.
func locate(file string, err error) error {
	faults := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		faults = te.Errors
	}
	var errs []error
	for _, f := range faults {
		if m := unknownKey.FindStringSubmatch(f); m != nil {
			errs = append(errs, fmt.Errorf("%s:%s: unknown key %q", file, m[1], m[2]))
		} else if m := atLine.FindStringSubmatch(f); m != nil {
			errs = append(errs, fmt.Errorf("%s:%s: %s", file, m[1], m[2]))
		} else {
			errs = append(errs, fmt.Errorf("%s: %s", file, f))
		}
	}
	return errors.Join(errs...)
}

var goodName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// check refuses what can be seen to be wrong without a kernel tree.
func (b *Board) check() error {
	switch {
	case !goodName.MatchString(b.Name):
		return fmt.Errorf("name: got %q, want lower case letters, digits and single hyphens", b.Name)
	case b.Description == "":
		return errors.New("description: missing")
	case b.Arch != "amd64" && b.Arch != "arm64":
		return fmt.Errorf("arch: got %q, want amd64 or arm64", b.Arch)
	case !slices.Contains([]string{BootSystemd, BootUBoot, BootPi}, b.Boot):
		return fmt.Errorf("boot: got %q, want %s, %s or %s", b.Boot, BootSystemd, BootUBoot, BootPi)
	case b.BIOS != "" && (b.BIOS != BIOSGRUB || b.Boot != BootSystemd || b.Arch != "amd64"):
		return fmt.Errorf("bios: got %q, want nothing, or %s on an amd64 board with %s", b.BIOS, BIOSGRUB, BootSystemd)
	case !slices.Contains([]string{"", TableGPT, TableMBR}, b.Table):
		return fmt.Errorf("table: got %q, want %s or %s", b.Table, TableGPT, TableMBR)
	case (b.UBoot != nil) != (b.Boot == BootUBoot):
		return fmt.Errorf("u_boot: boards with boot: %s have it, and no others", BootUBoot)
	case b.UBoot != nil && !slices.Contains([]string{"firmware", "file"}, b.UBoot.DeviceTree):
		return fmt.Errorf("u_boot.device_tree: got %q, want firmware or file", b.UBoot.DeviceTree)
	case b.Suite == "":
		return errors.New("suite: missing")
	case b.Kernel == "":
		return errors.New("kernel: missing")
	case len(b.Partitions) == 0:
		return errors.New("partitions: missing")
	}
	if err := b.Modules.check(); err != nil {
		return err
	}
	for _, o := range b.Overlays {
		if !goodName.MatchString(o) {
			return fmt.Errorf("overlays: %q: want the name of a folder of overlays", o)
		}
	}
	if err := checkPatterns("firmware", b.Firmware); err != nil {
		return err
	}
	if err := checkPatterns("device_trees", b.DeviceTrees); err != nil {
		return err
	}
	for _, f := range b.Files {
		if err := checkPattern(f.From); err != nil || f.Package == "" || !fs.ValidPath(strings.TrimSuffix(f.To, "/")) {
			return fmt.Errorf("files: %+v: want package, from (a relative pattern) and to (a relative path)", f)
		}
	}
	for _, r := range b.Raw {
		if err := checkPattern(r.From); err != nil || r.Package == "" || r.At <= 0 || r.At%512 != 0 {
			return fmt.Errorf("raw: %+v: want package, from (a relative path) and at (whole sectors)", r)
		}
	}
	return b.checkPartitions()
}

func (b *Board) checkPartitions() error {
	seen := map[string]bool{}
	for _, p := range b.Partitions {
		if !goodName.MatchString(p.Name) || len(p.Name) > 36 {
			return fmt.Errorf("partitions: name %q: want 1 to 36 lower case letters, digits and single hyphens", p.Name)
		}
		if seen[p.Name] {
			return fmt.Errorf("partitions: %s is there twice", p.Name)
		}
		seen[p.Name] = true
		if p.Size <= 0 || p.Size%mib != 0 || p.At%mib != 0 {
			return fmt.Errorf("partitions: %s: want a size, and size and at in whole MiB", p.Name)
		}
	}
	return nil
}

// mib is what partitions are aligned to.
const mib = 1 << 20

// moduleName is what a kernel module may be called.
var moduleName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (m *Modules) check() error {
	for _, name := range m.Load {
		if !moduleName.MatchString(name) {
			return fmt.Errorf("modules: load: %q: want the name of a module, as in i2c-dev", name)
		}
	}
	for _, s := range []Selection{m.Root, m.Initramfs} {
		if err := checkPatterns("modules", slices.Concat(s.Include, s.Exclude)); err != nil {
			return err
		}
	}
	return nil
}

func checkPatterns(key string, patterns []string) error {
	for _, p := range patterns {
		if err := checkPattern(p); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func checkPattern(p string) error {
	if _, err := path.Match(p, ""); err != nil || !fs.ValidPath(p) || p == "." {
		return fmt.Errorf("pattern %q: want a relative path without .. that path.Match understands", p)
	}
	return nil
}

var sizeText = regexp.MustCompile(`^([1-9][0-9]{0,5}) (KiB|MiB|GiB)$`)

// UnmarshalYAML reads "8 KiB", "512 MiB" or "1 GiB".
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizeText.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil {
		return fmt.Errorf("line %d: size %q: want a whole number of KiB, MiB or GiB, as in \"512 MiB\"", n.Line, n.Value)
	}
	var v int64
	for _, c := range m[1] {
		v = v*10 + int64(c-'0')
	}
	*s = Size(v << map[string]int{"KiB": 10, "MiB": 20, "GiB": 30}[m[2]])
	return nil
}
