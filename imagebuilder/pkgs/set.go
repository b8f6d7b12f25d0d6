package pkgs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what to fetch, from where and to where.
type Options struct {
	Spec Spec
	// Lock is the board's lock file; LockName is its name in errors.
	Lock     []byte
	LockName string
	// UpdateLock, if not empty, is the file that a lock resolved anew is written to (atomically);
	// Lock is then not read.
	UpdateLock string
	// AllowMoved takes what the mirror has now in place of a Lock that names versions it no longer
	// has. The replacement is kept in the cache and used from then on, for this Lock alone.
	AllowMoved bool
	// CacheDir is used by all builds of a user at once; empty: DefaultCacheDir.
	CacheDir string
	// Mirror is the --mirror value, ARCHIVE or ARCHIVE,SECURITY; empty: the host's own.
	Mirror string
	// Keyring holds the keys that indexes must be signed with; empty: the host's
	// debian-archive-keyring.
	Keyring string
	// Log is called with one line for each thing that takes time; nil: silent.
	Log func(line string)
	// Progress is called several times a second while packages are fetched, with bytes; nil: not.
	Progress func(done, total int64)
}

// defaultKeyring is where the package debian-archive-keyring has it.
const defaultKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// DefaultCacheDir returns the cache directory of the user's Keelson builds.
func DefaultCacheDir() (string, error) {
	d, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(d, "keelson"), nil
}

// Set is a set of unpacked packages, ready for use. It is read-only and safe for concurrent use.
type Set struct {
	lock     *lockFile
	kernel   Kernel
	packages []Package // root and data
	tools    *Tools
}

// opener is the state of one Open.
type opener struct {
	opts     Options
	hostArch string
	apts     map[string]*apt
}

// Open makes the packages of o.Spec ready: from the cache alone when it has all that the lock demands, else
// from the mirror. Errors: *GoneError, *ToolError, ErrUnavailable, ErrSignature.
func Open(ctx context.Context, o Options) (*Set, error) {
	op, err := newOpener(o)
	if err != nil {
		return nil, err
	}
	return op.open(ctx)
}

// LockInUse returns the text of the lock that Open would use if it can do without the mirror: o.Lock,
// or what an earlier Open took in its place, see Options.AllowMoved.
func LockInUse(o Options) ([]byte, error) {
	op, err := newOpener(o)
	if err != nil {
		return nil, err
	}
	l, err := op.lockInUse()
	if err != nil {
		return nil, err
	}
	return l.Text(), nil
}

// newOpener fills in what o leaves out.
func newOpener(o Options) (*opener, error) {
	if o.CacheDir == "" {
		var err error
		if o.CacheDir, err = DefaultCacheDir(); err != nil {
			return nil, err
		}
	}
	var err error
	if o.CacheDir, err = filepath.Abs(o.CacheDir); err != nil {
		return nil, err
	}
	if o.Keyring == "" {
		o.Keyring = defaultKeyring
	}
	if o.LockName == "" {
		o.LockName = "packages.lock"
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	op := &opener{opts: o, hostArch: runtime.GOARCH, apts: map[string]*apt{}}
	if !slices.Contains(hostArches, op.hostArch) {
		return nil, fmt.Errorf("building on %s is not supported: Debian packages of the tools are locked for %s", op.hostArch, strings.Join(hostArches, " and "))
	}
	return op, nil
}

func (op *opener) open(ctx context.Context) (*Set, error) {
	if op.opts.UpdateLock != "" {
		return op.locked(ctx, func() (*Set, error) { return op.resolve(ctx, op.opts.UpdateLock) })
	}
	l, err := op.lockInUse()
	if err != nil {
		return nil, err
	}
	if s, err := op.set(l); err != nil || s != nil {
		return s, err
	}
	return op.locked(ctx, func() (*Set, error) {
		s, err := op.fill(ctx, l)
		var gone *GoneError
		if !op.opts.AllowMoved || !errors.As(err, &gone) {
			return s, err
		}
		op.opts.Log(gone.list() + "\nThis build takes what the mirror has now, as it was allowed to")
		return op.resolve(ctx, op.movedLock())
	})
}

// resolve makes a lock of what the mirror has now, and writes it to file when all of its packages are there.
func (op *opener) resolve(ctx context.Context, file string) (*Set, error) {
	op.opts.Log("resolving packages of " + op.opts.Spec.Suite)
	l, err := resolve(ctx, op.opts.Spec, func(arch string) (*apt, error) { return op.apt(ctx, arch) })
	if err != nil {
		return nil, err
	}
	s, err := op.fill(ctx, l)
	if err != nil {
		return nil, err
	}
	return s, writeFile(file, l.Text())
}

// lockInUse returns the given lock, or with AllowMoved what replaces it.
func (op *opener) lockInUse() (*lockFile, error) {
	l, err := parseLock(op.opts.LockName, op.opts.Lock)
	if err != nil {
		return nil, err
	}
	if err := l.check(op.opts.LockName, op.opts.Spec, op.hostArch); err != nil {
		return nil, err
	}
	if !op.opts.AllowMoved {
		return l, nil
	}
	// The given lock may have become whole again, with another mirror.
	if s, err := op.set(l); err != nil || s != nil {
		return l, err
	}
	file := op.movedLock()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	} else if err != nil {
		return nil, err
	}
	moved, err := parseLock(file, text)
	if err == nil {
		err = moved.check(file, op.opts.Spec, op.hostArch)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; the cached file was damaged: remove it and run again", err)
	}
	return moved, nil
}

// movedLock is the file of what replaces the given lock.
func (op *opener) movedLock() string {
	return filepath.Join(op.opts.CacheDir, "moved", fmt.Sprintf("%x.lock", sha256.Sum256(op.opts.Lock)))
}

// writeFile replaces file by data in one step.
func writeFile(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".lock-")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// locked calls f while no other build writes to the cache.
func (op *opener) locked(ctx context.Context, f func() (*Set, error)) (*Set, error) {
	if err := os.MkdirAll(op.opts.CacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	h, err := os.OpenFile(filepath.Join(op.opts.CacheDir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer h.Close() // which unlocks
	if err := op.flock(ctx, int(h.Fd())); err != nil {
		return nil, fmt.Errorf("lock the cache %s: %w", op.opts.CacheDir, err)
	}
	return f()
}

// flock locks fd. It asks again and again instead of waiting in the kernel, where ctx could not end it.
func (op *opener) flock(ctx context.Context, fd int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if !told {
			op.opts.Log("waiting for another build that fills the cache " + op.opts.CacheDir)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// apt returns the apt for arch, its indexes fetched in this run.
func (op *opener) apt(ctx context.Context, arch string) (*apt, error) {
	if a := op.apts[arch]; a != nil {
		return a, nil
	}
	var m mirror
	var err error
	if op.opts.Mirror != "" {
		m, err = parseMirror(op.opts.Mirror)
	} else {
		m, err = hostMirror("/etc/apt")
	}
	if err != nil {
		return nil, err
	}
	suites := append([]string{op.opts.Spec.Suite}, op.opts.Spec.kernelSuites()...)
	a, err := newApt(ctx, op.opts.CacheDir, m, suites, op.opts.Keyring, arch)
	if err != nil {
		return nil, err
	}
	op.opts.Log(fmt.Sprintf("fetching package indexes of %s for %s", op.opts.Spec.Suite, arch))
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	op.apts[arch] = a
	return a, nil
}

func (op *opener) deb(p *Package) string {
	return filepath.Join(op.opts.CacheDir, "debs", p.SHA256+".deb")
}

func (op *opener) unpacked(p *Package) string {
	return filepath.Join(op.opts.CacheDir, "unpacked", p.SHA256)
}

// wanted returns the packages of l that a build on this host uses.
func (op *opener) wanted(l *lockFile) (packages, tools []Package) {
	for _, p := range l.Packages {
		switch p.Group {
		case groupRoot, groupData:
			packages = append(packages, p)
		case toolsGroup(op.hostArch):
			tools = append(tools, p)
		}
	}
	return packages, tools
}

// set returns the set of l if everything is unpacked, else nil.
func (op *opener) set(l *lockFile) (*Set, error) {
	packages, tools := op.wanted(l)
	s := &Set{lock: l}
	for _, p := range packages {
		p.Dir = op.unpacked(&p)
		if _, err := os.Stat(p.Dir); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		s.packages = append(s.packages, p)
	}
	s.kernel = op.kernel(packages)
	s.tools = newTools(op.opts.CacheDir, op.hostArch, tools)
	for _, dir := range []string{s.tools.dir, s.kernel.joined} {
		if dir == "" {
			continue
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// fill fetches and unpacks what is missing of l and returns its set.
func (op *opener) fill(ctx context.Context, l *lockFile) (*Set, error) {
	packages, tools := op.wanted(l)
	if err := op.fetch(ctx, slices.Concat(packages, tools)); err != nil {
		return nil, err
	}
	op.opts.Log(fmt.Sprintf("unpacking %d packages", len(packages)+len(tools)))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range packages {
		g.Go(func() error {
			return inNewDir(op.unpacked(&p), func(tmp string) error { return op.unpack(ctx, &p, tmp) })
		})
	}
	t := newTools(op.opts.CacheDir, op.hostArch, tools)
	g.Go(func() error {
		return inNewDir(t.dir, func(tmp string) error {
			for _, p := range tools {
				if err := op.unpack(ctx, &p, tmp); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := op.joinKernel(op.kernel(packages)); err != nil {
		return nil, err
	}
	s, err := op.set(l)
	if err == nil && s == nil {
		err = fmt.Errorf("the cache %s changed while it was filled; run again", op.opts.CacheDir)
	}
	return s, err
}

func (op *opener) unpack(ctx context.Context, p *Package, dir string) error {
	if err := verifyDeb(op.deb(p), p); err != nil {
		return fmt.Errorf("%w; the cached file was damaged: remove %s and run again", err, op.deb(p))
	}
	if err := unpackDeb(ctx, op.deb(p), dir); err != nil {
		return fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return nil
}

// fetch downloads the packages that the cache does not have.
func (op *opener) fetch(ctx context.Context, packages []Package) error {
	missing := map[string][]Package{} // by the architecture of the apt that has them
	var count int
	var bytes int64
	seen := map[string]bool{}
	for _, p := range packages {
		if seen[p.SHA256] {
			continue
		}
		seen[p.SHA256] = true
		if _, err := os.Stat(op.deb(&p)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		arch := op.opts.Spec.Arch
		if p.Group == toolsGroup(op.hostArch) {
			arch = op.hostArch
		}
		missing[arch] = append(missing[arch], p)
		count++
		bytes += p.Size
	}
	if count == 0 {
		return nil
	}
	var gone []Gone
	for _, arch := range hostArches {
		a, err := op.aptIf(ctx, arch, len(missing[arch]) > 0)
		if err != nil {
			return err
		}
		g, err := findGone(ctx, a, op.opts.Spec, missing[arch])
		if err != nil {
			return err
		}
		gone = append(gone, g...)
	}
	if len(gone) > 0 {
		return &GoneError{Gone: gone}
	}
	op.opts.Log(fmt.Sprintf("fetching %d packages (%.1f MB)", count, float64(bytes)/1e6))
	tmp, err := os.MkdirTemp(op.opts.CacheDir, ".fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	stop := op.watch(tmp, bytes)
	defer stop()
	for arch, ps := range missing {
		if err := op.download(ctx, op.apts[arch], filepath.Join(tmp, arch), ps); err != nil {
			return err
		}
	}
	return nil
}

func (op *opener) aptIf(ctx context.Context, arch string, needed bool) (*apt, error) {
	if !needed {
		return nil, nil
	}
	return op.apt(ctx, arch)
}

// findGone returns the packages whose version a's indexes do not have.
func findGone(ctx context.Context, a *apt, spec Spec, ps []Package) ([]Gone, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.Name
	}
	all, err := a.show(ctx, names, true)
	if err != nil {
		return nil, err
	}
	if i := slices.Index(names, spec.kernelName()); i >= 0 {
		names[i] = spec.Kernel // with its suite
	}
	newest, err := a.show(ctx, names, false)
	if err != nil {
		return nil, err
	}
	have, candidate := map[string]string{}, map[string]string{}
	for _, r := range all {
		have[r.Name+"="+r.Version+" "+r.SHA256] = r.SHA256
	}
	for _, r := range newest {
		candidate[r.Name] = r.Version
	}
	var gone []Gone
	for _, p := range ps {
		if have[p.Name+"="+p.Version+" "+p.SHA256] == "" {
			gone = append(gone, Gone{Name: p.Name, Arch: p.Arch, Locked: p.Version, Available: candidate[p.Name]})
		}
	}
	return gone, nil
}

// download fetches ps into dir, checks them and moves them into the cache.
func (op *opener) download(ctx context.Context, a *apt, dir string, ps []Package) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(op.opts.CacheDir, "debs"), 0o755); err != nil {
		return err
	}
	specs := make([]string, len(ps))
	for i, p := range ps {
		specs[i] = p.Name + "=" + p.Version
	}
	if err := a.download(ctx, dir, specs); err != nil {
		return err
	}
	for _, p := range ps {
		file := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), p.Arch))
		if err := verifyDeb(file, &p); err != nil {
			return err
		}
		if err := os.Rename(file, op.deb(&p)); err != nil {
			return err
		}
	}
	return nil
}

// watch reports how much has arrived below dir until stop is called.
func (op *opener) watch(dir string, total int64) (stop func()) {
	if op.opts.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				op.opts.Progress(total, total)
				return
			case <-tick.C:
				op.opts.Progress(min(dirSize(dir), total), total)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// dirSize sums the sizes of files; what vanishes meanwhile is not counted.
func dirSize(dir string) int64 {
	var n int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// LockText is the text of the lock that the set was made of.
func (s *Set) LockText() []byte { return s.lock.Text() }

// Epoch is the time that all files of an image get: the lock's, UTC.
func (s *Set) Epoch() time.Time { return s.lock.Epoch }

// Tools returns the programs that the build runs.
func (s *Set) Tools() *Tools { return s.tools }

// Packages returns the unpacked packages, root's and data's, sorted by group and name.
func (s *Set) Packages() []Package { return slices.Clone(s.packages) }

// Package returns the unpacked package named name.
func (s *Set) Package(name string) (Package, error) {
	for _, p := range s.packages {
		if p.Name == name {
			return p, nil
		}
	}
	return Package{}, fmt.Errorf("package %s is not among those of the lock", name)
}

// File returns where the file of package name at path (relative, e.g. "usr/bin/busybox") is.
func (s *Set) File(name, path string) (string, error) {
	p, err := s.Package(name)
	if err != nil {
		return "", err
	}
	file := filepath.Join(p.Dir, filepath.FromSlash(path))
	if _, err := os.Lstat(file); err != nil {
		return "", fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
	}
	return file, nil
}

// toolsID names a set of tool packages.
func toolsID(tools []Package) string {
	h := sha256.New()
	for _, p := range tools {
		fmt.Fprintf(h, "%s %s\n", p.Name, p.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
