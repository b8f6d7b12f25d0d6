package module

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNotFound says that no module, builtin or alias has the name.
var ErrNotFound = errors.New("no such module")

// maxDepth bounds how deep softdeps may name each other.
const maxDepth = 16

// Loader loads modules of one kernel, each at most once. Safe for several goroutines.
type Loader struct {
	dir     string
	deps    map[string]entry
	soft    map[string]soft
	builtin map[string]bool
	options func(module string) string
	insert  func(path, options string) error

	mu      sync.Mutex
	started map[string]*load
	aliases *aliases // nil: not read, or forgotten
}

type load struct {
	done chan struct{}
	err  error
}

// Dir returns the folder of the running kernel's modules.
func Dir() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return "/usr/lib/modules/" + unix.ByteSliceToString(u.Release[:]), nil
}

// Open reads the tables in dir but the aliases, which are read when one is needed.
// options gives the options of a module from the kernel command line; it may be nil.
// modules.dep must be there; the others may be missing.
func Open(dir string, options func(module string) string) (*Loader, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	l := &Loader{dir: dir, deps: parseDep(dep), options: options, insert: insert, started: map[string]*load{}}
	soft, err := optional(filepath.Join(dir, "modules.softdep"))
	if err != nil {
		return nil, err
	}
	l.soft = parseSoftdep(soft)
	builtin, err := optional(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	l.builtin = parseBuiltin(builtin)
	return l, nil
}

func optional(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Load loads a module by name, or every module an alias stands for, with what they need.
// It returns nil when it is loaded or builtin, and ErrNotFound when nobody knows it.
func (l *Loader) Load(nameOrAlias string) error { return l.request(nameOrAlias, "", nil) }

// LoadWith is Load with options for the module itself, as finit_module takes them.
func (l *Loader) LoadWith(name, options string) error { return l.request(name, options, nil) }

// Forget drops the alias table from memory; it is read again when needed.
func (l *Loader) Forget() {
	l.mu.Lock()
	l.aliases = nil
	l.mu.Unlock()
}

// Resolve returns the canonical names of the modules that a name or an alias stands for;
// none when it is builtin.
func (l *Loader) Resolve(nameOrAlias string) ([]string, error) {
	name := canonical(nameOrAlias)
	if _, ok := l.deps[name]; ok {
		return []string{name}, nil
	}
	if l.builtin[name] {
		return nil, nil
	}
	l.mu.Lock()
	if l.aliases == nil {
		b, err := optional(filepath.Join(l.dir, "modules.alias"))
		if err != nil {
			l.mu.Unlock()
			return nil, err
		}
		l.aliases = parseAlias(b)
	}
	a := l.aliases
	l.mu.Unlock()
	names := a.lookup(nameOrAlias)
	if len(names) == 0 {
		return nil, fmt.Errorf("module %s: %w", nameOrAlias, ErrNotFound)
	}
	return names, nil
}

func (l *Loader) request(nameOrAlias, options string, chain []string) error {
	names, err := l.Resolve(nameOrAlias)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, l.module(name, options, chain, true))
	}
	return errors.Join(errs...)
}

// module loads one module of modules.dep after what it needs. chain names the modules
// whose loading led here: softdeps and aliases may lead in a circle, dependencies cannot,
// depmod refuses them. One that another goroutine is loading is waited for only with wait.
func (l *Loader) module(name, options string, chain []string, wait bool) error {
	e, ok := l.deps[name]
	if !ok {
		if l.builtin[name] {
			return nil
		}
		return fmt.Errorf("module %s: %w", name, ErrNotFound)
	}
	if slices.Contains(chain, name) {
		return nil
	}
	l.mu.Lock()
	if s, ok := l.started[name]; ok {
		l.mu.Unlock()
		if !wait {
			return nil
		}
		<-s.done
		return s.err
	}
	s := &load{done: make(chan struct{})}
	l.started[name] = s
	l.mu.Unlock()

	chain = append(slices.Clip(chain), name)
	s.err = l.moduleAfterNeeds(name, e, options, chain)
	if s.err != nil {
		l.forgetFailure(name)
	}
	// Before what is softly wanted after it: that may need a module that another goroutine
	// is loading, and which waits for this one.
	close(s.done)
	if s.err == nil {
		l.wanted(l.soft[name].post, chain)
	}
	return s.err
}

func (l *Loader) moduleAfterNeeds(name string, e entry, options string, chain []string) error {
	l.wanted(l.soft[name].pre, chain)
	for _, dep := range e.deps {
		if err := l.module(dep, "", chain, true); err != nil {
			return fmt.Errorf("module %s: needs %w", name, err)
		}
	}
	return l.insertNamed(name, e.path, options)
}

// wanted loads the softdeps of the last module in chain. One that another goroutine is
// loading is not waited for: that goroutine may be waiting for us. Failures are left to
// whoever asks for the module by itself.
func (l *Loader) wanted(softdeps, chain []string) {
	if len(chain) > maxDepth {
		return
	}
	for _, s := range softdeps {
		names, err := l.Resolve(s)
		if err != nil {
			continue
		}
		for _, name := range names {
			l.module(name, "", chain, false)
		}
	}
}

// forgetFailure lets a later request try again: the device may be there by then.
func (l *Loader) forgetFailure(name string) {
	l.mu.Lock()
	delete(l.started, name)
	l.mu.Unlock()
}

// noSpares keeps modules that make a first link when they are loaded from doing so: whoever
// asks for a bond "bond0" would find one there, in another mode than asked for.
// Source: Documentation/networking/bonding.rst, "max_bonds"; drivers/net/dummy.c.
var noSpares = map[string]string{"bonding": "max_bonds=0", "dummy": "numdummies=0"}

func (l *Loader) insertNamed(name, path, options string) error {
	// The last one counts: what the kernel's command line says, then what was asked for.
	parts := []string{noSpares[name]}
	if l.options != nil {
		parts = append(parts, l.options(name))
	}
	options = strings.Join(strings.Fields(strings.Join(append(parts, options), " ")), " ")
	if err := l.insert(filepath.Join(l.dir, path), options); err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	return nil
}

// insert loads one file; a module that is there already is no error.
func insert(path, options string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	switch filepath.Ext(path) {
	case ".xz", ".gz", ".zst":
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), options, flags)
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return &fs.PathError{Op: "finit_module", Path: path, Err: err}
}
