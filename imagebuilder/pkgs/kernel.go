package pkgs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is an unpacked kernel. Debian has it in one package, linux-image-VERSION, or, in suites
// after trixie and its backports, split in linux-binary, linux-modules and linux-base, which linux-image depends on.
type Kernel struct {
	Package     Package  // the package with the modules
	Names       []string // of all packages that it is made of
	Version     string   // as uname -r says it
	Image       string   // the kernel's file
	Modules     string   // the folder with kernel/ and modules.builtin, without modules.dep
	DeviceTrees string   // the folder with VENDOR/NAME.dtb; amd64 has none

	joined string // the folder in the cache that a split kernel's Modules is in, or empty
	index  string // where such a kernel's modules.builtin is
}

// kernelName is the name of the spec's kernel without its suite.
func (s Spec) kernelName() string {
	name, _, _ := strings.Cut(s.Kernel, "/")
	return name
}

// kernelSuites returns the suite that the kernel is from, if it is not the spec's own.
func (s Spec) kernelSuites() []string {
	if _, suite, ok := strings.Cut(s.Kernel, "/"); ok && suite != s.Suite {
		return []string{suite}
	}
	return nil
}

var (
	// kernelDep finds the versioned kernel package in a meta package's Depends.
	kernelDep = regexp.MustCompile(`(?:^|[ ,|])(linux-image-[0-9][a-z0-9.+-]*)`)
	// kernelPart finds those that a versioned kernel package is split into, in its Depends.
	kernelPart = regexp.MustCompile(`(?:^|[ ,|])(linux-(?:base|binary|modules)-[0-9][a-z0-9.+-]*)`)
)

// kernelPackages returns the packages, as name or name=version, that spec's kernel is made of: the meta package, the
// image it depends on, and what that is split into.
func kernelPackages(ctx context.Context, a *apt, spec Spec) ([]string, error) {
	meta, err := a.show(ctx, []string{spec.Kernel}, false)
	if err != nil {
		return nil, err
	}
	if len(meta) == 0 {
		return nil, fmt.Errorf("kernel package %s: not in suite %s", spec.Kernel, spec.Suite)
	}
	m := kernelDep.FindStringSubmatch(meta[0].depends)
	if m == nil {
		return nil, fmt.Errorf("kernel package %s depends on no linux-image package: %q", spec.Kernel, meta[0].depends)
	}
	image, err := a.show(ctx, []string{m[1]}, false)
	if err != nil {
		return nil, err
	}
	if len(image) == 0 {
		return nil, fmt.Errorf("kernel package %s: the package %s, which it depends on, is not in the mirror", spec.Kernel, m[1])
	}
	out := []string{meta[0].Name + "=" + meta[0].Version, m[1]}
	for _, part := range kernelPart.FindAllStringSubmatch(image[0].depends, -1) {
		out = append(out, part[1])
	}
	return out, nil
}

// kernel finds the kernel among packages. Without one its Version is empty.
func (op *opener) kernel(packages []Package) Kernel {
	by := map[string]Package{}
	var image Package
	for _, p := range packages {
		if p.Group != groupData {
			continue
		}
		p.Dir = op.unpacked(&p)
		by[p.Name] = p
		if strings.HasPrefix(p.Name, "linux-image-") && p.Name != op.opts.Spec.kernelName() {
			image = p
		}
	}
	if image.Name == "" {
		return Kernel{}
	}
	v := strings.TrimPrefix(image.Name, "linux-image-")
	dir := filepath.Join("usr", "lib", "modules", v)
	modules, split := by["linux-modules-"+v]
	if !split {
		return Kernel{Package: image, Names: []string{image.Name}, Version: v, Image: filepath.Join(image.Dir, "boot", "vmlinuz-"+v),
			Modules: filepath.Join(image.Dir, dir), DeviceTrees: filepath.Join(image.Dir, "usr", "lib", image.Name)}
	}
	k := Kernel{Package: modules, Version: v}
	for _, part := range []string{"linux-image-", "linux-modules-", "linux-binary-", "linux-base-"} {
		if _, ok := by[part+v]; ok {
			k.Names = append(k.Names, part+v)
		}
	}
	base := filepath.Join(by["linux-base-"+v].Dir, dir)
	k.index = base
	k.Image = filepath.Join(by["linux-binary-"+v].Dir, dir, "vmlinuz")
	k.DeviceTrees = filepath.Join(base, "dtb")
	k.joined = filepath.Join(op.opts.CacheDir, "kernels", modules.SHA256[:32])
	k.Modules = filepath.Join(k.joined, v)
	return k
}

// indexOfModules are the files that depmod and modprobe need beside the modules.
var indexOfModules = []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"}

// joinKernel makes the folder of modules of a split kernel: a link to the modules, and a copy of their index.
func (op *opener) joinKernel(k Kernel) error {
	if k.joined == "" {
		return nil
	}
	return inNewDir(k.joined, func(tmp string) error {
		dir := filepath.Join(tmp, k.Version)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		target, err := filepath.Rel(k.Modules, filepath.Join(k.Package.Dir, "usr", "lib", "modules", k.Version, "kernel"))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(dir, "kernel")); err != nil {
			return err
		}
		for _, f := range indexOfModules {
			data, err := os.ReadFile(filepath.Join(k.index, f))
			if err != nil {
				return fmt.Errorf("kernel %s: %w", k.Version, err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), data, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// Kernel returns the kernel that the spec's meta package stands for.
func (s *Set) Kernel() (Kernel, error) {
	k := s.kernel
	if k.Version == "" {
		return Kernel{}, errors.New("no linux-image package in the lock")
	}
	for _, f := range []string{k.Image, filepath.Join(k.Modules, "kernel")} {
		if _, err := os.Stat(f); err != nil {
			return Kernel{}, fmt.Errorf("kernel %s: %w", k.Version, err)
		}
	}
	return k, nil
}
