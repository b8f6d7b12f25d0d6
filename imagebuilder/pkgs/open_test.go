package pkgs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/tests/reftool"
)

// repo is a Debian archive of a few packages, served over HTTP and signed by a key of its own.
type repo struct {
	t        *testing.T
	dir      string // served
	gnupg    string
	keyring  string
	url      string
	requests atomic.Int64
	away     atomic.Bool
	debs     map[string]string // index stanzas by package and architecture
	later    map[string]string // the same of the suite trixie-backports
	dated    time.Time         // the modification time of what was published last
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	for _, tool := range [][2]string{{"apt-get", "apt"}, {"apt-cache", "apt"}, {"dpkg-deb", "dpkg"}, {"gpg", "gnupg"}} {
		reftool.Need(t, tool[0], tool[1])
	}
	r := &repo{t: t, dir: t.TempDir(), debs: map[string]string{}, later: map[string]string{}, dated: time.Now().Add(-time.Hour)}
	// The path of gpg-agent's socket must be short.
	var err error
	if r.gnupg, err = os.MkdirTemp("", "gpg"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", r.gnupg, "--kill", "gpg-agent").Run()
		os.RemoveAll(r.gnupg)
	})
	r.newKey("archive")
	r.keyring = filepath.Join(r.gnupg, "keyring.gpg")
	r.gpg("--export", "--output", r.keyring, "archive")
	files := http.FileServer(http.Dir(r.dir))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.requests.Add(1)
		if r.away.Load() {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		files.ServeHTTP(w, q)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("no_proxy", "127.0.0.1")
	r.url = srv.URL + "/debian"
	return r
}

func (r *repo) run(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func (r *repo) gpg(args ...string) {
	r.t.Helper()
	r.run("gpg", append([]string{"--homedir", r.gnupg, "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
}

func (r *repo) newKey(name string) {
	r.t.Helper()
	r.gpg("--quick-gen-key", name, "rsa2048", "sign", "never")
}

// add builds a package with one file usr/share/NAME that holds its version.
func (r *repo) add(name, version, arch, depends string) {
	r.t.Helper()
	r.debs[name+" "+arch] = r.build(name, version, arch, depends)
}

// addLater adds a package to trixie-backports, with further files that hold its version.
func (r *repo) addLater(name, version, arch, depends string, files ...string) {
	r.t.Helper()
	r.later[name+" "+arch] = r.build(name, version, arch, depends, files...)
}

// build builds a package and returns its index stanza.
func (r *repo) build(name, version, arch, depends string, files ...string) string {
	r.t.Helper()
	src := r.t.TempDir()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Test <test@keelson.example>\nDescription: test\n", name, version, arch)
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	content := map[string]string{"DEBIAN/control": control, "usr/share/" + name: version}
	for _, f := range files {
		content[f] = version
	}
	for f, text := range content {
		f = filepath.Join(src, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o755), os.WriteFile(f, []byte(text), 0o644)); err != nil {
			r.t.Fatal(err)
		}
	}
	pool := fmt.Sprintf("pool/%s_%s_%s.deb", name, strings.ReplaceAll(version, ":", "%3a"), arch)
	deb := filepath.Join(r.dir, "debian", pool)
	if err := errors.Join(os.MkdirAll(filepath.Dir(deb), 0o755), os.Chmod(filepath.Join(src, "DEBIAN"), 0o755)); err != nil {
		r.t.Fatal(err)
	}
	r.run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", src, deb)
	data, err := os.ReadFile(deb)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%sSource: src-%s (%s.1)\nFilename: %s\nSize: %d\nSHA256: %x\n", control, name, version, pool, len(data), sha256.Sum256(data))
}

// publish writes the indexes of all suites, signed by the key signer ("" for unsigned).
func (r *repo) publish(signer string) {
	r.t.Helper()
	// HTTP tells files apart by the second: two publications within one would be "not modified".
	r.dated = r.dated.Add(time.Minute)
	for archive, suites := range map[string][]string{"debian": {"trixie", "trixie-updates", "trixie-backports"}, "debian-security": {"trixie-security"}} {
		for _, suite := range suites {
			r.publishSuite(filepath.Join(r.dir, archive, "dists", suite), suite, signer)
		}
	}
}

func (r *repo) publishSuite(dir, suite, signer string) {
	r.t.Helper()
	var sums strings.Builder
	for _, component := range strings.Fields(components) {
		for _, arch := range hostArches {
			var index bytes.Buffer
			in := map[string]map[string]string{"trixie": r.debs, "trixie-backports": r.later}[suite]
			if component == "main" {
				for key, s := range in {
					if strings.HasSuffix(key, " "+arch) || strings.HasSuffix(key, " all") {
						index.WriteString(s + "\n")
					}
				}
			}
			name := component + "/binary-" + arch + "/Packages"
			f := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o755), os.WriteFile(f, index.Bytes(), 0o644)); err != nil {
				r.t.Fatal(err)
			}
			fmt.Fprintf(&sums, " %x %d %s\n", sha256.Sum256(index.Bytes()), index.Len(), name)
		}
	}
	release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: Tue, 14 Nov 2023 22:13:20 UTC\nArchitectures: %s\nComponents: %s\nSHA256:\n%s",
		suite, suite, strings.Join(hostArches, " "), components, sums.String())
	plain, signed := filepath.Join(dir, "Release"), filepath.Join(dir, "InRelease")
	if err := os.WriteFile(plain, []byte(release), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if signer == "" {
		if err := os.Remove(signed); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
		return
	}
	r.gpg("--local-user", signer, "--clearsign", "--output", signed, plain)
	if err := os.Chtimes(signed, r.dated, r.dated); err != nil {
		r.t.Fatal(err)
	}
}

// standard fills the repo with what spec wants.
func (r *repo) standard() {
	for _, arch := range hostArches {
		r.add("prog", "1:1.0-1", arch, "libprog (>= 1)")
		r.add("libprog", "1.0~rc1-1", arch, "")
		r.add("tool", "2.0", arch, "libprog")
	}
	r.add("data", "3.0", "all", "prog, missing-package")
	r.add("linux-image-amd64", "6.1-1", "amd64", "linux-image-6.1.0-amd64 (= 6.1-1)")
	r.add("linux-image-6.1.0-amd64", "6.1-1", "amd64", "kmod, initramfs-tools")
}

var spec = Spec{Suite: "trixie", Arch: "amd64", Root: []string{"prog"}, Data: []string{"data"}, Kernel: "linux-image-amd64", Tools: []string{"tool"}}

func (r *repo) options(cache string) Options {
	return Options{Spec: spec, CacheDir: cache, Mirror: r.url, Keyring: r.keyring, LockName: "test.lock"}
}

// lock resolves and returns the lock.
func (r *repo) lock(cache string) []byte {
	r.t.Helper()
	o := r.options(cache)
	o.UpdateLock = filepath.Join(r.t.TempDir(), "packages.lock")
	if _, err := Open(context.Background(), o); err != nil {
		r.t.Fatal(err)
	}
	text, err := os.ReadFile(o.UpdateLock)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func TestLockHasDependenciesOfProgramsAndToolsAlone(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	l, err := parseLock("test.lock", r.lock(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range l.Packages {
		got = append(got, p.Group+" "+p.Name+"="+p.Version)
		if p.Source != "src-"+p.Name || p.SourceVersion != p.Version+".1" {
			t.Errorf("%s: source %s %s", p.Name, p.Source, p.SourceVersion)
		}
	}
	want := []string{"data data=3.0", "data linux-image-6.1.0-amd64=6.1-1", "data linux-image-amd64=6.1-1",
		"root libprog=1.0~rc1-1", "root prog=1:1.0-1",
		"tools-amd64 libprog=1.0~rc1-1", "tools-amd64 tool=2.0", "tools-arm64 libprog=1.0~rc1-1", "tools-arm64 tool=2.0"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if want := time.Unix(1_700_000_000, 0); !l.Epoch.Equal(want) {
		t.Errorf("epoch = %v, want the indexes' date %v", l.Epoch, want)
	}
}

func TestFullCacheNeedsNoServer(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	cache := t.TempDir()
	lock := r.lock(cache)
	r.away.Store(true)
	before := r.requests.Load()
	o := r.options(cache)
	o.Lock = lock
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.requests.Load() - before; n != 0 {
		t.Errorf("the server was asked %d times, want never", n)
	}
	f, err := s.File("prog", "usr/share/prog")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(f); err != nil || string(text) != "1:1.0-1" {
		t.Errorf("usr/share/prog = %q, %v, want its version", text, err)
	}
	// Without the unpacked trees, too: the .debs are there.
	if err := os.RemoveAll(filepath.Join(cache, "unpacked")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), o); err != nil || r.requests.Load() != before {
		t.Errorf("Open = %v with the .debs in the cache, after %d requests", err, r.requests.Load()-before)
	}
	// An empty cache and no server is one clear error.
	o.CacheDir = t.TempDir()
	if _, err := Open(context.Background(), o); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
}

func TestLockedVersionThatIsGoneIsNeverReplaced(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	lock := r.lock(t.TempDir())
	for _, arch := range hostArches {
		r.add("libprog", "1.1-1", arch, "")
		delete(r.debs, "tool "+arch)
	}
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Lock = lock
	_, err := Open(context.Background(), o)
	var gone *GoneError
	if !errors.As(err, &gone) {
		t.Fatalf("Open = %v, want *GoneError", err)
	}
	got := map[string]string{}
	for _, g := range gone.Gone {
		got[g.Name] = g.Locked + " → " + g.Available
	}
	if len(got) != 2 || got["libprog"] != "1.0~rc1-1 → 1.1-1" || got["tool"] != "2.0 → " {
		t.Errorf("gone = %q, want libprog and tool", got)
	}
	if text := err.Error(); !strings.Contains(text, "libprog (amd64): 1.0~rc1-1 → 1.1-1") || !strings.Contains(text, "--update-lock") {
		t.Errorf("the error does not say old → new and what to do: %s", text)
	}
}

func TestMovedPackagesAreTakenWhereAllowed(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	lock := r.lock(t.TempDir())
	for _, arch := range hostArches {
		r.add("libprog", "1.1-1", arch, "")
	}
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Lock, o.AllowMoved = lock, true
	var said []string
	o.Log = func(line string) { said = append(said, line) }
	version := func() string {
		t.Helper()
		s, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		inUse, err := LockInUse(o)
		if err != nil || !bytes.Equal(inUse, s.LockText()) {
			t.Errorf("LockInUse is not the lock of the set (%v)", err)
		}
		p, err := s.Package("libprog")
		if err != nil {
			t.Fatal(err)
		}
		return p.Version
	}
	if got := version(); got != "1.1-1" {
		t.Errorf("libprog is %s, want the mirror's 1.1-1", got)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "libprog (amd64): 1.0~rc1-1 → 1.1-1") {
		t.Errorf("the change was not told: %s", text)
	}
	r.away.Store(true)
	before := r.requests.Load()
	if got := version(); got != "1.1-1" || r.requests.Load() != before {
		t.Errorf("the second time libprog is %s after %d requests, want 1.1-1 from the cache", got, r.requests.Load()-before)
	}
	o.AllowMoved = false
	if _, err := Open(context.Background(), o); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Open = %v without AllowMoved: want the lock's own versions, so the mirror", err)
	}
}

func TestIndexWithoutAKnownSignatureIsRefused(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.newKey("stranger")
	good := t.TempDir()
	r.publish("archive")
	r.lock(good)
	for _, c := range []struct{ name, signer string }{{"unsigned", ""}, {"signed by a stranger", "stranger"}} {
		r.publish(c.signer)
		for name, cache := range map[string]string{"a new cache": t.TempDir(), "indexes from before": good} {
			o := r.options(cache)
			o.UpdateLock = filepath.Join(t.TempDir(), "packages.lock")
			_, err := Open(context.Background(), o)
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s: Open = %v, want ErrSignature", c.name, name, err)
			}
			if _, err := os.Stat(o.UpdateLock); err == nil {
				t.Errorf("%s, %s: a lock was written", c.name, name)
			}
		}
	}
}

func TestPackageThatIsNotTheLockedOneIsRefused(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Lock = r.lock(t.TempDir())
	deb := filepath.Join(r.dir, "debian", "pool", "data_3.0_all.deb")
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(deb, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), o); err == nil {
		t.Error("Open = nil with a damaged package")
	}
	if left, err := filepath.Glob(filepath.Join(o.CacheDir, "unpacked", "*")); err != nil || len(left) != 0 {
		t.Errorf("unpacked all the same: %q, %v", left, err)
	}
}

func TestBuildsShareACache(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Lock = r.lock(t.TempDir())
	errs := make(chan error)
	for range 4 {
		go func() {
			s, err := Open(context.Background(), o)
			if err == nil {
				_, err = s.File("data", "usr/share/data")
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, pattern := range []string{"*/.new-*", ".fetch-*"} {
		if left, err := filepath.Glob(filepath.Join(o.CacheDir, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left over: %q, %v", left, err)
		}
	}
}

func TestWaitForTheCacheEndsWithItsContext(t *testing.T) {
	cache := t.TempDir()
	h, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := unix.Flock(int(h.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := Spec{Suite: "trixie", Arch: "amd64", Root: []string{"nftables"}}
	_, err = Open(ctx, Options{Spec: s, Lock: []byte(goodLock), CacheDir: cache, Log: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want context.Canceled", err)
	}
}

func TestMissingHostToolNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	s := Spec{Suite: "trixie", Arch: "amd64", Root: []string{"nftables"}}
	_, err := Open(context.Background(), Options{Spec: s, Lock: []byte(goodLock), CacheDir: t.TempDir(), Mirror: "https://mirror.example/debian"})
	var missing *ToolError
	if !errors.As(err, &missing) || missing.Package != "apt" {
		t.Errorf("Open = %v, want *ToolError that names the package apt", err)
	}
}

func TestLockForOtherPackagesIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Spec)
	}{
		{"another suite", func(s *Spec) { s.Suite = "forky" }},
		{"another program", func(s *Spec) { s.Root = []string{"nftables", "mount"} }},
	} {
		s := Spec{Suite: "trixie", Arch: "amd64", Root: []string{"nftables"}}
		c.change(&s)
		_, err := Open(context.Background(), Options{Spec: s, Lock: []byte(goodLock), LockName: "test.lock", CacheDir: t.TempDir()})
		if err == nil || !strings.HasPrefix(err.Error(), "test.lock: ") || !strings.Contains(err.Error(), "--update-lock") {
			t.Errorf("%s: Open = %v, want an error that names the lock and --update-lock", c.name, err)
		}
	}
}
