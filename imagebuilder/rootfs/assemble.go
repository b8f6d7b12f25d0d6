package rootfs

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/extra"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
	"github.com/keelson-os/keelson/overlays"
)

// Input is what a root is made of.
type Input struct {
	Board    *boards.Board
	Packages *pkgs.Set
	Modules  *kmod.Tree
	// Programs is the folder with the programs for the board's architecture, as the Makefile builds them.
	Programs string
	// Version is Keelson's, for /etc/os-release.
	Version string
	// Wants are kernel modules beside those of the board: names, which are loaded at boot as well, and
	// patterns. See kmod.Tree.Find.
	Wants []string
	// Images are OCI archives for the node's store: file name ("pause.tar") to the file with its content.
	Images map[string]string
}

// ImagesDir is config.SystemImages, relative to the root.
const ImagesDir = "usr/share/keelson/images"

// programs are Keelson's own and Go's programs: name in Input.Programs → path in the root.
var programs = []struct{ name, path string }{
	{"init", "init"},
	{"node", "usr/bin/node"},
	{"machined", "usr/bin/machined"},
	{"runc", "usr/bin/runc"},
	{"containerd-shim-runc-v2", "usr/bin/containerd-shim-runc-v2"},
	{"bridge", "opt/cni/bin/bridge"},
	{"host-local", "opt/cni/bin/host-local"},
	{"loopback", "opt/cni/bin/loopback"},
	{"portmap", "opt/cni/bin/portmap"},
}

// links are further names of programs: the program looks at the name it is called by.
var links = []struct{ path, target string }{
	{"usr/sbin/init", "/init"},
	{"usr/sbin/modprobe", "/init"},
	{"usr/bin/kubectl", "node"},
	{"usr/bin/ctr", "node"},
}

// ProgramsError says that programs are not built.
type ProgramsError struct {
	Dir     string
	Missing []string
}

func (e *ProgramsError) Error() string {
	return fmt.Sprintf("no %s in %s: build the programs with \"make build BOARD=NAME\", this board's name, or say where they are with --programs", strings.Join(e.Missing, ", "), e.Dir)
}

// Assemble returns the root of in. Errors: *ProgramsError, and whatever makes a part of it
// incomplete: a root is never made without something that was asked for.
func Assemble(ctx context.Context, in Input) (*tree.Tree, error) {
	triplet, ok := triplets[in.Board.Arch]
	if !ok {
		return nil, fmt.Errorf("board %s: architecture %s is not supported", in.Board.Name, in.Board.Arch)
	}
	t := tree.New()
	d := &debian{set: in.Packages, tree: t, triplet: triplet}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"overlay " + overlays.Base, func() error { return addOverlay(t, overlays.Base) }},
		{"os-release", func() error { return addRelease(t, in) }},
		{"programs", func() error { return addPrograms(t, in.Programs, in.Board.Arch) }},
		{"Debian programs", d.addAll},
		{"certificate authorities", d.addCertificates},
		{"kernel modules", func() error { return addModules(t, in) }},
		{"firmware", func() error { return d.addFirmware(in.Board.Firmware) }},
		{"images", func() error { return addImages(t, in.Images) }},
	} {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("assemble the root of board %s: %s: %w", in.Board.Name, step.what, err)
		}
	}
	return t, nil
}

func addOverlay(t *tree.Tree, name string) error {
	l, err := extra.Embedded(name)
	if err != nil {
		return err
	}
	return t.AddAll(l.Entries)
}

// Layout returns the folders, links and files that every root has, whatever its board.
func Layout() (*tree.Tree, error) {
	t := tree.New()
	return t, addOverlay(t, overlays.Base)
}

// addRelease writes /etc/os-release. Source: os-release(5).
func addRelease(t *tree.Tree, in Input) error {
	if strings.ContainsAny(in.Version, "\"$`\\\n") {
		return fmt.Errorf("version %q: want no quotes, dollars, backslashes and line breaks", in.Version)
	}
	text := fmt.Sprintf("ID=keelson\nNAME=\"Keelson\"\nVERSION_ID=\"%[1]s\"\nVERSION=\"%[1]s\"\nPRETTY_NAME=\"Keelson %[1]s\"\nVARIANT_ID=%[2]s\n", in.Version, in.Board.Name)
	o := tree.Origin{Kind: tree.Keelson, Name: "os-release"}
	if err := t.AddData("usr/lib/os-release", 0o644, []byte(text), o); err != nil {
		return err
	}
	return t.AddLink("etc/os-release", "../usr/lib/os-release", o)
}

func addPrograms(t *tree.Tree, dir, arch string) error {
	missing := &ProgramsError{Dir: dir}
	for _, p := range programs {
		file := filepath.Join(dir, p.name)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			missing.Missing = append(missing.Missing, p.name)
			continue
		} else if err != nil {
			return err
		}
		if err := checkProgram(file, arch); err != nil {
			return err
		}
		if err := t.AddFile(p.path, 0o755, file, tree.Origin{Kind: tree.Program, Name: p.name}); err != nil {
			return err
		}
	}
	if len(missing.Missing) > 0 {
		return missing
	}
	for _, l := range links {
		if err := t.AddLink(l.path, l.target, tree.Origin{Kind: tree.Keelson, Name: "layout"}); err != nil {
			return err
		}
	}
	return nil
}

// machines are the ELF machines of a board's architecture.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkProgram refuses what would start on no board: a program that wants a loader, which the root does not have for
// Go's, or one of another architecture. The kernel would only say that there is no working init.
func checkProgram(file, arch string) error {
	f, err := elf.Open(file)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return nil // a script
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Machine != machines[arch] {
		return fmt.Errorf("%s is for %s, and the board is %s: say with --programs where its programs are", file, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked, and the image has no loader for it: build it with CGO_ENABLED=0, as \"make build\" does", file)
		}
	}
	return nil
}

func addModules(t *tree.Tree, in Input) error {
	modules, err := in.Modules.Select(in.Board.Modules.Root)
	if err != nil {
		return err
	}
	wants := slices.Concat(in.Board.Modules.Load, in.Wants)
	more, err := in.Modules.Find(wants)
	if err != nil {
		return err
	}
	modules = append(modules, more...)
	slices.Sort(modules)
	entries, err := in.Modules.Entries(path.Join("usr/lib/modules", in.Modules.Version), slices.Compact(modules))
	if err != nil {
		return err
	}
	return errors.Join(t.AddAll(entries), addLoad(t, wants))
}

// addLoad lists the modules that are loaded at boot by name, if there are any, in the order given.
// Source: modules-load.d(5).
func addLoad(t *tree.Tree, wants []string) error {
	text := "# Made by the image builder: modules of board.yaml and --module.\n"
	seen := map[string]bool{}
	for _, w := range wants {
		if name := strings.ReplaceAll(w, "-", "_"); kmod.IsName(w) && !seen[name] {
			seen[name] = true
			text += name + "\n"
		}
	}
	if len(seen) == 0 {
		return nil
	}
	return t.AddData("etc/"+extra.ModulesLoad, 0o644, []byte(text), tree.Origin{Kind: tree.Keelson, Name: "modules to load"})
}

func addImages(t *tree.Tree, images map[string]string) error {
	names := make([]string, 0, len(images))
	for n := range images {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if path.Base(n) != n {
			return fmt.Errorf("image %q: want a file name", n)
		}
		if err := t.AddFile(path.Join(ImagesDir, n), 0o644, images[n], tree.Origin{Kind: tree.Keelson, Name: "image " + strings.TrimSuffix(n, ".tar")}); err != nil {
			return err
		}
	}
	return nil
}
