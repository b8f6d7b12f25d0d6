// Package boards holds the kinds of machine that Keelson is built for. A board is data: a
// folder with board.yaml, packages.lock (which Debian packages an image is made of; see package
// imagebuilder/pkgs) and README.md. The folders are part of the program.
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
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed */board.yaml */packages.lock
var embedded embed.FS

// Board describes one kind of machine. It is read-only after Load.
type Board struct {
	// Name is the folder's name: lower case letters, digits and hyphens.
	Name string `yaml:"name"`
	// Description is one line for people.
	Description string `yaml:"description"`
	// Arch is Debian's and Go's name of the architecture: amd64 or arm64.
	Arch string `yaml:"arch"`
	// Boot is the boot chain: "systemd-boot" (UEFI, a UKI per slot on the ESP).
	Boot string `yaml:"boot"`
	// Suite is the Debian release the packages come from, e.g. "trixie".
	Suite string `yaml:"suite"`
	// Kernel is the Debian kernel meta package, e.g. "linux-image-amd64".
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
	// Firmware are path.Match patterns below usr/lib/firmware. Each must match.
	Firmware []string `yaml:"firmware"`
	// Partitions are laid out in this order, without gaps, from disk.FirstOffset on.
	Partitions []Partition `yaml:"partitions"`

	// Lock is packages.lock.
	Lock []byte `yaml:"-"`
}

// Modules are the selections of kernel modules of a board.
type Modules struct {
	Root      Selection `yaml:"root"`
	Initramfs Selection `yaml:"initramfs"`
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
	Size Size   `yaml:"size"` // bytes in the image
}

// Size is a number of bytes, a multiple of 1 MiB; in YAML "512 MiB" or "1 GiB".
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
		return nil, &UnknownError{Name: name, Boards: names, Nearest: nearest(name, names)}
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
	if b.Lock, err = fs.ReadFile(fsys, name+"/packages.lock"); err != nil {
		return nil, err
	}
	return b, nil
}

// unknownKey is how yaml.v3 reports one: "line 3: field colour not found in type boards.Board".
var unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type .*$`)

// atLine is how it reports everything else.
var atLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// parse reads a board.yaml. file is used in errors.
func parse(file string, text []byte) (*Board, error) {
	b := &Board{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(b); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: the file is empty", file)
		}
		return nil, locate(file, err)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one YAML document", file)
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
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
	case b.Boot != "systemd-boot":
		return fmt.Errorf("boot: got %q, want systemd-boot", b.Boot)
	case b.Suite == "":
		return errors.New("suite: missing")
	case b.Kernel == "":
		return errors.New("kernel: missing")
	case len(b.Modules.Root.Include) == 0 || len(b.Modules.Initramfs.Include) == 0:
		return errors.New("modules: root.include and initramfs.include must not be empty")
	case len(b.Partitions) == 0:
		return errors.New("partitions: missing")
	}
	for _, s := range []Selection{b.Modules.Root, b.Modules.Initramfs} {
		for _, p := range slices.Concat(s.Include, s.Exclude) {
			if err := checkPattern(p); err != nil {
				return fmt.Errorf("modules: %w", err)
			}
		}
	}
	for _, p := range b.Firmware {
		if err := checkPattern(p); err != nil {
			return fmt.Errorf("firmware: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, p := range b.Partitions {
		if !goodName.MatchString(p.Name) || len(p.Name) > 36 {
			return fmt.Errorf("partitions: name %q: want 1 to 36 lower case letters, digits and single hyphens", p.Name)
		}
		if seen[p.Name] {
			return fmt.Errorf("partitions: %s is there twice", p.Name)
		}
		seen[p.Name] = true
		if p.Size <= 0 {
			return fmt.Errorf("partitions: %s: size is missing", p.Name)
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

var sizeText = regexp.MustCompile(`^([1-9][0-9]{0,5}) (MiB|GiB)$`)

// UnmarshalYAML reads "512 MiB" or "1 GiB".
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	m := sizeText.FindStringSubmatch(n.Value)
	if n.Kind != yaml.ScalarNode || m == nil {
		return fmt.Errorf("line %d: size %q: want a whole number of MiB or GiB, as in \"512 MiB\"", n.Line, n.Value)
	}
	var v int64
	for _, c := range m[1] {
		v = v*10 + int64(c-'0')
	}
	if m[2] == "GiB" {
		v <<= 10
	}
	*s = Size(v << 20)
	return nil
}
