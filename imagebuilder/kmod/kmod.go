// Package kmod chooses kernel modules for a root or an initramfs: what a board's patterns
// name, plus everything those modules depend on, with the index files that modprobe needs, cut
// down to the chosen modules. Modules stay compressed as the distribution compressed them.
package kmod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// Tree is a kernel's whole set of modules with its index. It is read-only.
type Tree struct {
	Version string // of the kernel, as uname -r says it
	dir     string // holds kernel/…, modules.builtin, modules.order
	origin  tree.Origin

	index   map[string][]byte   // modules.alias, modules.softdep, … as depmod wrote them
	deps    map[string][]string // from modules.dep: module path → paths it depends on, in order
	byName  map[string]string   // module name → path
	byAlias map[string][]string // alias without wildcards → module names
	builtin map[string]bool     // names of what is in the kernel itself
}

// indexFiles are the index files that images get, beside modules.dep. Those of depmod's that are not here are
// binary doubles (.bin), for device nodes (modules.devname) or for symbols, which only depmod reads.
var indexFiles = []string{"modules.alias", "modules.softdep"}

// builtinFile comes with the kernel package and is copied as it is; modules.builtin.modinfo is for modinfo(8).
const builtinFile = "modules.builtin"

// Open returns the modules of set's kernel. The index is made by depmod once and kept in cacheDir.
func Open(ctx context.Context, set *pkgs.Set, cacheDir string) (*Tree, error) {
	k, err := set.Kernel()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cacheDir, "depmod", k.Package.SHA256[:32]+"-"+set.Tools().ID())
	if _, err := os.Stat(dir); err != nil {
		if err := depmod(ctx, set.Tools(), k.Modules, k.Version, dir); err != nil {
			return nil, fmt.Errorf("index the modules of kernel %s: %w", k.Version, err)
		}
	}
	t := &Tree{Version: k.Version, dir: k.Modules, origin: tree.Origin{Kind: tree.Debian, Name: k.Package.Name}, index: map[string][]byte{}}
	for _, f := range append([]string{"modules.dep"}, indexFiles...) {
		if t.index[f], err = os.ReadFile(filepath.Join(dir, f)); err != nil {
			return nil, err
		}
	}
	if t.index[builtinFile], err = os.ReadFile(filepath.Join(k.Modules, builtinFile)); err != nil {
		return nil, err
	}
	return t, t.parse()
}

// depmod writes the index of the modules in modules to the new directory out.
func depmod(ctx context.Context, tools *pkgs.Tools, modules, version, out string) (err error) {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(out), ".new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	// depmod looks for BASE/MODULEDIR/VERSION; MODULEDIR is given, so that no
	// lib → usr/lib link is needed, and so is OUT/MODULEDIR/VERSION, which it makes.
	base := filepath.Dir(filepath.Dir(modules))
	cmd := tools.Command(ctx, "depmod", "-b", base, "-m", "/"+filepath.Base(filepath.Dir(modules)), "-o", tmp, version)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("depmod: %w: %s", err, bytes.TrimSpace(text))
	}
	if err := os.Rename(filepath.Join(tmp, filepath.Base(filepath.Dir(modules)), version), out); err != nil {
		if _, serr := os.Stat(out); serr == nil {
			return nil // another build was faster
		}
		return err
	}
	return nil
}

// parse fills the maps from the index.
func (t *Tree) parse() error {
	t.deps, t.byName, t.byAlias = map[string][]string{}, map[string]string{}, map[string][]string{}
	for line := range strings.Lines(string(t.index["modules.dep"])) {
		module, deps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			return fmt.Errorf("modules.dep: line %q has no colon", line)
		}
		t.deps[module] = strings.Fields(deps)
		t.byName[moduleName(module)] = module
	}
	if len(t.deps) == 0 {
		return fmt.Errorf("modules.dep of kernel %s names no module", t.Version)
	}
	t.builtin = map[string]bool{}
	for line := range strings.Lines(string(t.index[builtinFile])) {
		t.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	for line := range strings.Lines(string(t.index["modules.alias"])) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "alias" && !strings.ContainsAny(f[1], "*?[") {
			t.byAlias[f[1]] = append(t.byAlias[f[1]], f[2])
		}
	}
	return nil
}

// moduleName returns the module name of a module's path: "kernel/net/nf-x.ko.xz" is "nf_x".
func moduleName(p string) string {
	base, _, _ := strings.Cut(path.Base(p), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// key is a module's path as selections name it: below "kernel/", without ".ko" and what follows.
func key(p string) string {
	k, _, _ := strings.Cut(strings.TrimPrefix(p, "kernel/"), ".ko")
	return k
}

// patterns finds the patterns that name a module or a folder above it.
type patterns struct {
	plain map[string]bool // without wildcards
	wild  []string
}

func compile(ps []string) patterns {
	out := patterns{plain: map[string]bool{}}
	for _, p := range ps {
		if strings.ContainsAny(p, `*?[\`) {
			out.wild = append(out.wild, p)
		} else {
			out.plain[p] = true
		}
	}
	return out
}

// match marks in used the patterns that match key, and says whether there is one.
func (ps patterns) match(key string, used map[string]bool) bool {
	found := false
	for k := key; k != "."; k = path.Dir(k) {
		if ps.plain[k] {
			used[k], found = true, true
		}
		for _, p := range ps.wild {
			if ok, err := path.Match(p, k); err == nil && ok {
				used[p], found = true, true
			}
		}
	}
	return found
}

// Select returns the paths ("kernel/…/x.ko.xz", sorted) of the modules that s chooses, with everything that they
// depend on, soft dependencies included. Errors name every pattern that matches nothing.
func (t *Tree) Select(s boards.Selection) ([]string, error) {
	used := map[string]bool{}
	chosen := map[string]bool{}
	include, exclude := compile(s.Include), compile(s.Exclude)
	for m := range t.deps {
		k := key(m)
		in, out := include.match(k, used), exclude.match(k, used)
		if in && !out {
			chosen[m] = true
		}
	}
	var errs []error
	for _, p := range slices.Concat(s.Include, s.Exclude) {
		if !used[p] {
			errs = append(errs, fmt.Errorf("module pattern %q matches nothing in kernel %s", p, t.Version))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.close(chosen)
	out := make([]string, 0, len(chosen))
	for m := range chosen {
		out = append(out, m)
	}
	slices.Sort(out)
	return out, nil
}

// close adds what the chosen modules depend on.
func (t *Tree) close(chosen map[string]bool) {
	soft := t.softdeps()
	var todo []string
	for m := range chosen {
		todo = append(todo, m)
	}
	for len(todo) > 0 {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, d := range slices.Concat(t.deps[m], soft[moduleName(m)]) {
			if !chosen[d] {
				chosen[d] = true
				todo = append(todo, d)
			}
		}
	}
}

// softdeps returns modules.softdep with names resolved: module name → paths. Names that are neither
// a module nor an alias are built in or not there; modprobe passes over them too.
func (t *Tree) softdeps() map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(string(t.index["modules.softdep"])) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "softdep" {
			continue
		}
		for _, name := range f[2:] {
			if name == "pre:" || name == "post:" {
				continue
			}
			if p, ok := t.byName[strings.ReplaceAll(name, "-", "_")]; ok {
				out[f[1]] = append(out[f[1]], p)
				continue
			}
			for _, m := range t.byAlias[name] {
				out[f[1]] = append(out[f[1]], t.byName[m])
			}
		}
	}
	return out
}

// Entries returns the modules (as Select returned them) and their index as entries below dir,
// e.g. "usr/lib/modules/6.12.1-amd64". The index is that which depmod would write
// for these modules alone.
func (t *Tree) Entries(dir string, modules []string) ([]tree.Entry, error) {
	var out []tree.Entry
	for _, m := range modules {
		if _, ok := t.deps[m]; !ok {
			return nil, fmt.Errorf("module %s: not in kernel %s", m, t.Version)
		}
		out = append(out, tree.Entry{Path: path.Join(dir, m), Mode: 0o644, File: filepath.Join(t.dir, filepath.FromSlash(m)), Origin: t.origin})
	}
	made := tree.Origin{Kind: tree.Keelson, Name: "module index"}
	for name, data := range t.subset(modules) {
		out = append(out, tree.Entry{Path: path.Join(dir, name), Mode: 0o644, Data: data, Origin: made})
	}
	out = append(out, tree.Entry{Path: path.Join(dir, builtinFile), Mode: 0o644, File: filepath.Join(t.dir, builtinFile), Origin: t.origin})
	slices.SortFunc(out, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// subset returns the index files for modules, which must be closed under dependency.
// Every line of modules.dep belongs to the module it begins with, every line of modules.alias and
// modules.softdep to the module it ends or begins with; the order of lines is kept.
func (t *Tree) subset(modules []string) map[string][]byte {
	paths, names := map[string]bool{}, map[string]bool{}
	for _, m := range modules {
		paths[m], names[moduleName(m)] = true, true
	}
	filter := func(file string, keep func(line string) bool) []byte {
		var b bytes.Buffer
		for line := range strings.Lines(string(t.index[file])) {
			if strings.HasPrefix(line, "#") || keep(line) {
				b.WriteString(line)
			}
		}
		return b.Bytes()
	}
	return map[string][]byte{
		"modules.dep": filter("modules.dep", func(line string) bool {
			m, _, _ := strings.Cut(line, ":")
			return paths[m]
		}),
		"modules.alias": filter("modules.alias", func(line string) bool {
			f := strings.Fields(line)
			return len(f) == 3 && names[f[2]]
		}),
		"modules.softdep": filter("modules.softdep", func(line string) bool {
			f := strings.Fields(line)
			return len(f) > 1 && names[strings.ReplaceAll(f[1], "-", "_")]
		}),
	}
}
