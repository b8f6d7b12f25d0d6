package pkgs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Spec names the packages of an image.
type Spec struct {
	Suite string // "trixie"
	Arch  string // of the image: "amd64" or "arm64"
	// Root packages are taken with their dependencies (not those recommended).
	Root []string
	// Data packages are taken alone.
	Data []string
	// Kernel is a meta package, e.g. "linux-image-amd64"; the linux-image package it depends on, and the
	// packages that this one is split into, are taken alone. "linux-image-arm64/trixie-backports" is the
	// one of another suite of the archive.
	Kernel string
	// Tools are run by the build; they are taken with their dependencies, for the host's architecture.
	Tools []string
}

// hostArches are the architectures a build may run on. A lock has tools for each.
var hostArches = []string{"amd64", "arm64"}

// check refuses a lock that was made for other packages than spec's.
func (l *lockFile) check(file string, spec Spec, hostArch string) error {
	if l.Suite != spec.Suite {
		return fmt.Errorf("%s: the lock is for suite %s, the board wants %s; write it anew with --update-lock", file, l.Suite, spec.Suite)
	}
	have := map[[2]string]bool{}
	for _, p := range l.Packages {
		have[[2]string{p.Group, p.Name}] = true
		if p.Arch != "all" && p.Group == groupRoot && p.Arch != spec.Arch {
			return fmt.Errorf("%s: %s is for %s, the board is %s; write the lock anew with --update-lock", file, p.Name, p.Arch, spec.Arch)
		}
	}
	var missing []string
	for group, names := range map[string][]string{groupRoot: spec.Root, groupData: slices.Concat(spec.Data, []string{spec.kernelName()}), toolsGroup(hostArch): spec.Tools} {
		for _, n := range names {
			if n != "" && !have[[2]string{group, n}] {
				missing = append(missing, group+" "+n)
			}
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("%s: not in the lock: %s; write it anew with --update-lock", file, strings.Join(missing, ", "))
	}
	return nil
}

// resolve asks apt what spec means today. newApt gives the apt of an architecture, its indexes up to date.
func resolve(ctx context.Context, spec Spec, aptFor func(arch string) (*apt, error)) (*lockFile, error) {
	lock := &lockFile{Suite: spec.Suite}
	newest := func(a *apt) error {
		t, err := a.epoch()
		if err == nil && t.After(lock.Epoch) {
			lock.Epoch = t.Truncate(time.Second)
		}
		return err
	}
	a, err := aptFor(spec.Arch)
	if err != nil {
		return nil, err
	}
	if err := newest(a); err != nil {
		return nil, err
	}
	if err := lock.addClosure(ctx, a, groupRoot, spec.Root); err != nil {
		return nil, err
	}
	if err := lock.addData(ctx, a, spec); err != nil {
		return nil, err
	}
	for _, arch := range hostArches {
		if len(spec.Tools) == 0 {
			break
		}
		a, err := aptFor(arch)
		if err != nil {
			return nil, err
		}
		if err := newest(a); err != nil {
			return nil, err
		}
		if err := lock.addClosure(ctx, a, toolsGroup(arch), spec.Tools); err != nil {
			return nil, err
		}
	}
	lock.sort()
	return lock, nil
}

// addClosure adds names and what they depend on.
func (l *lockFile) addClosure(ctx context.Context, a *apt, group string, names []string) error {
	specs, err := a.resolve(ctx, names)
	if err != nil {
		return err
	}
	return l.add(ctx, a, group, specs)
}

// addData adds the data packages, the kernel among them.
func (l *lockFile) addData(ctx context.Context, a *apt, spec Spec) error {
	names := slices.Clone(spec.Data)
	if spec.Kernel != "" {
		kernel, err := kernelPackages(ctx, a, spec)
		if err != nil {
			return err
		}
		names = append(names, kernel...)
	}
	slices.Sort(names)
	return l.add(ctx, a, groupData, slices.Compact(names))
}

// add adds what specs (names or name=version) are in a's indexes.
func (l *lockFile) add(ctx context.Context, a *apt, group string, specs []string) error {
	recs, err := a.show(ctx, specs, false)
	if err != nil {
		return err
	}
	found := map[string]record{}
	for _, r := range recs {
		found[r.Name] = r
		found[r.Name+"="+r.Version] = r
	}
	for _, s := range specs {
		r, ok := found[s]
		if !ok {
			return fmt.Errorf("package %s: not in suite %s for %s", s, l.Suite, a.arch)
		}
		r.Group = group
		l.Packages = append(l.Packages, r.Package)
	}
	return nil
}
