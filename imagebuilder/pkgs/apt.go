package pkgs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apt is apt with its own state for one mirror, suite and architecture. Its methods
// must be called by one process at a time; see cache.lock.
type apt struct {
	dir  string // state, cache and configuration
	conf string // apt.conf
	arch string
	env  []string
}

// components of the archive that packages may come from.
const components = "main non-free-firmware"

// newApt writes the configuration for arch below cacheDir/apt. suites are a release, whose updates and
// security fixes belong to it, and further ones that nothing is taken from unless it is asked for.
func newApt(ctx context.Context, cacheDir string, m mirror, suites []string, keyring, arch string) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, &ToolError{Tool: "apt-get", Package: "apt", Err: err}
	}
	if _, err := os.Stat(keyring); err != nil {
		return nil, &ToolError{Tool: keyring, Package: "debian-archive-keyring", Err: err}
	}
	key := sha256.Sum256([]byte(strings.Join([]string{m.Archive, m.Security, strings.Join(suites, " "), keyring, arch}, "\x00")))
	a := &apt{dir: filepath.Join(cacheDir, "apt", hex.EncodeToString(key[:8])), arch: arch}
	a.conf = filepath.Join(a.dir, "apt.conf")
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	var src strings.Builder
	lines := []struct{ uri, suite string }{{m.Archive, suites[0]}, {m.Archive, suites[0] + "-updates"}, {m.Security, suites[0] + "-security"}}
	var pins strings.Builder
	for _, s := range suites[1:] {
		lines = append(lines, struct{ uri, suite string }{m.Archive, s})
		// As the archive marks backports itself: the lowest that is still possible for packages that are nowhere else.
		fmt.Fprintf(&pins, "Package: *\nPin: release n=%s\nPin-Priority: 1\n\n", s)
	}
	for _, l := range lines {
		fmt.Fprintf(&src, "deb [signed-by=%s arch=%s] %s %s %s\n", keyring, arch, l.uri, l.suite, components)
	}
	host, err := hostAcquire(ctx)
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`Dir "/";
Dir::State %[1]q;
Dir::State::status %[2]q;
Dir::Cache %[3]q;
Dir::Etc %[4]q;
APT::Architecture %[5]q;
APT::Architectures { %[5]q; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
%[6]s`, filepath.Join(a.dir, "state"), filepath.Join(a.dir, "state", "status"), filepath.Join(a.dir, "cache"), filepath.Join(a.dir, "etc"), arch, host)
	for _, f := range []struct{ path, text string }{
		{filepath.Join(a.dir, "state", "status"), ""}, // nothing is installed: dependencies resolve in full
		{filepath.Join(a.dir, "etc", "sources.list"), src.String()},
		{filepath.Join(a.dir, "etc", "preferences.d", "suites"), pins.String()},
		{a.conf, conf},
	} {
		if err := os.WriteFile(f.path, []byte(f.text), 0o644); err != nil {
			return nil, err
		}
	}
	a.env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "LC_") || strings.HasPrefix(s, "LANG") || strings.HasPrefix(s, "APT_CONFIG=")
	}), "LC_ALL=C", "APT_CONFIG="+a.conf, "DEBIAN_FRONTEND=noninteractive")
	return a, nil
}

// acquireKeys are the host's apt settings that say how to reach a server; nothing that
// weakens what is accepted is among them, but for the age of an index: a host on a
// snapshot mirror turns that check off, and the lock holds digests anyway.
var acquireKeys = regexp.MustCompile(`^Acquire::((http|https|ftp)::|Retries |Check-Valid-Until |Check-Date |ForceIPv4 |ForceIPv6 )`)

// hostAcquire returns those of the host's settings as configuration text.
func hostAcquire(ctx context.Context) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-config", "dump")
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return "", &ToolError{Tool: "apt-config", Package: "apt", Err: err}
	}
	var b strings.Builder
	for line := range strings.Lines(out.String()) {
		if acquireKeys.MatchString(line) {
			b.WriteString(line)
		}
	}
	for _, f := range []struct{ key, path string }{{"netrc", "/etc/apt/auth.conf"}, {"netrcparts", "/etc/apt/auth.conf.d"}} {
		if h, err := os.Open(f.path); err == nil { // private to root: then it is not ours to use
			h.Close()
			fmt.Fprintf(&b, "Dir::Etc::%s %q;\n", f.key, f.path)
		}
	}
	return b.String(), nil
}

// run runs one of apt's programs in dir and returns its standard output.
func (a *apt) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, a.env, &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", classify(name, args, err, errOut.String())
	}
	return out.String(), nil
}

var (
	signatureText   = regexp.MustCompile(`GPG error|OpenPGP signature verification failed|NO_PUBKEY|BADSIG|EXPKEYSIG|is not signed|Sub-process .*(gpgv|sqv) returned|no longer signed|doesn't support authentication|Clearsigned file isn't valid`)
	unavailableText = regexp.MustCompile(`Could not resolve|Could not connect|Temporary failure|Connection (refused|failed|timed out)|Unable to connect|Failed to fetch|File not found|does not have a Release file`)
)

// classify makes an error of what apt wrote on standard error.
func classify(name string, args []string, err error, text string) error {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "Err:") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		lines = []string{strings.TrimSpace(text)}
	}
	what := strings.Join(lines, "\n  ")
	switch {
	case signatureText.MatchString(text):
		return fmt.Errorf("%w, or not by a key of the package debian-archive-keyring (bring it up to date, or use another mirror):\n  %s", ErrSignature, what)
	case unavailableText.MatchString(text):
		return fmt.Errorf("%w, and not everything is in the cache; try again, or give another mirror with --mirror:\n  %s", ErrUnavailable, what)
	}
	return fmt.Errorf("%s %s: %w:\n  %s", name, strings.Join(args, " "), err, what)
}

// update fetches the package indexes and checks their signatures.
func (a *apt) update(ctx context.Context) error {
	_, err := a.run(ctx, a.dir, "apt-get", "-q", "update")
	return err
}

// epoch returns the newest date of the package indexes.
func (a *apt) epoch() (time.Time, error) {
	files, err := filepath.Glob(filepath.Join(a.dir, "state", "lists", "*Release"))
	if err != nil {
		return time.Time{}, err
	}
	var newest time.Time
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return time.Time{}, err
		}
		for _, s := range stanzas(string(text)) {
			if s["date"] == "" {
				continue
			}
			t, err := time.Parse(time.RFC1123, strings.Replace(s["date"], "UTC", "GMT", 1))
			if err != nil {
				return time.Time{}, fmt.Errorf("%s: date: %w", f, err)
			}
			if t.After(newest) {
				newest = t
			}
		}
	}
	if newest.IsZero() {
		return time.Time{}, errors.New("no package index has a date")
	}
	return newest.UTC(), nil
}

// instLine is a line of apt-get --simulate: "Inst libc6 (2.41-12 Debian:13/stable [amd64])".
var instLine = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)

// resolve returns name=version of names and everything they depend on.
func (a *apt) resolve(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out, err := a.run(ctx, a.dir, "apt-get", append([]string{"-q", "--simulate", "install"}, names...)...)
	if err != nil {
		return nil, err
	}
	var specs []string
	for _, m := range instLine.FindAllStringSubmatch(out, -1) {
		name, _, _ := strings.Cut(m[1], ":")
		specs = append(specs, name+"="+m[2])
	}
	return specs, nil
}

// record is what an index says about one version of a package.
type record struct {
	Package
	depends string
}

// show returns the records of specs (names or name=version), in no particular order; names that do
// not exist are left out. all asks for every version instead of the one apt would take.
func (a *apt) show(ctx context.Context, specs []string, all bool) ([]record, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	args := []string{"-q", "show"}
	if !all {
		args = append(args, "--no-all-versions")
	}
	// apt-cache show fails when one of several packages does not exist, but prints the others.
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-cache", append(args, specs...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = a.dir, a.env, &out, &errOut
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || ctx.Err() != nil || !strings.Contains(errOut.String(), "No packages found") && out.Len() == 0 && !strings.Contains(errOut.String(), "Unable to locate") {
			return nil, classify("apt-cache", args, err, errOut.String())
		}
	}
	var recs []record
	for _, s := range stanzas(out.String()) {
		size, err := strconv.ParseInt(s["size"], 10, 64)
		if err != nil || s["sha256"] == "" {
			return nil, fmt.Errorf("the index entry of %s %s has no size or no SHA256", s["package"], s["version"])
		}
		r := record{Package: Package{Name: s["package"], Version: s["version"], Arch: s["architecture"], Size: size,
			SHA256: s["sha256"], Source: s["package"], SourceVersion: s["version"]}, depends: s["depends"]}
		if src := s["source"]; src != "" {
			name, version, ok := strings.Cut(src, " ")
			r.Source = name
			if ok {
				r.SourceVersion = strings.Trim(version, "()")
			}
		}
		recs = append(recs, r)
	}
	return recs, nil
}

// download fetches specs (name=version) into dir, which must be empty.
func (a *apt) download(ctx context.Context, dir string, specs []string) error {
	_, err := a.run(ctx, dir, "apt-get", append([]string{"-q", "download"}, specs...)...)
	return err
}
