package pkgs

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The groups of a lock; tools are in toolsGroup of the host's architecture.
const (
	groupRoot = "root"
	groupData = "data"
)

func toolsGroup(hostArch string) string { return "tools-" + hostArch }

// Package is one Debian package at one version.
type Package struct {
	Group         string // see the package comment
	Name          string
	Version       string
	Arch          string // "amd64", "arm64" or "all"
	Size          int64  // of the .deb, bytes
	SHA256        string // of the .deb, 64 hex digits
	Source        string // source package
	SourceVersion string
	// Dir is where the package is unpacked; empty in a lock.
	Dir string
}

// lockFile is a parsed lock file.
type lockFile struct {
	Suite    string
	Epoch    time.Time // UTC, whole seconds
	Packages []Package // sorted by group, then name
}

var (
	lockGroup   = regexp.MustCompile(`^(root|data|tools-(amd64|arm64))$`)
	lockName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	lockVersion = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
	lockArch    = regexp.MustCompile(`^(amd64|arm64|all)$`)
)

// parseLock reads a lock file. file is used in errors.
func parseLock(file string, text []byte) (*lockFile, error) {
	l := &lockFile{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	seen := map[[2]string]bool{}
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := l.parseLine(line, seen); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if l.Suite == "" || l.Epoch.IsZero() || len(l.Packages) == 0 {
		return nil, fmt.Errorf("%s: no suite, no epoch or no package; write it anew with --update-lock", file)
	}
	l.sort()
	return l, nil
}

func (l *lockFile) parseLine(line string, seen map[[2]string]bool) error {
	f := strings.Fields(line)
	switch {
	case len(f) == 2 && f[0] == "suite" && lockName.MatchString(f[1]):
		l.Suite = f[1]
		return nil
	case len(f) == 2 && f[0] == "epoch":
		s, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || s <= 0 || s > 1<<33 {
			return fmt.Errorf("epoch %q: want seconds since 1970", f[1])
		}
		l.Epoch = time.Unix(s, 0).UTC()
		return nil
	case len(f) != 8:
		return fmt.Errorf("got %d fields, want 8: group, name, version, arch, size, sha256, source, source version", len(f))
	}
	size, err := strconv.ParseInt(f[4], 10, 64)
	digest, herr := hex.DecodeString(f[5])
	switch {
	case !lockGroup.MatchString(f[0]):
		return fmt.Errorf("group %q: want root, data, tools-amd64 or tools-arm64", f[0])
	case !lockName.MatchString(f[1]) || !lockName.MatchString(f[6]):
		return fmt.Errorf("package %q of source %q: not a Debian package name", f[1], f[6])
	case !lockVersion.MatchString(f[2]) || !lockVersion.MatchString(f[7]):
		return fmt.Errorf("%s: version %q of source version %q: not a Debian version", f[1], f[2], f[7])
	case !lockArch.MatchString(f[3]):
		return fmt.Errorf("%s: architecture %q: want amd64, arm64 or all", f[1], f[3])
	case err != nil || size <= 0:
		return fmt.Errorf("%s: size %q: want bytes", f[1], f[4])
	case herr != nil || len(digest) != 32 || f[5] != strings.ToLower(f[5]):
		return fmt.Errorf("%s: sha256 %q: want 64 lower case hex digits", f[1], f[5])
	}
	key := [2]string{f[0], f[1]}
	if seen[key] {
		return fmt.Errorf("%s is there twice in group %s", f[1], f[0])
	}
	seen[key] = true
	l.Packages = append(l.Packages, Package{Group: f[0], Name: f[1], Version: f[2], Arch: f[3], Size: size,
		SHA256: f[5], Source: f[6], SourceVersion: f[7]})
	return nil
}

func (l *lockFile) sort() {
	slices.SortFunc(l.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
}

// Text returns the lock file's text.
func (l *lockFile) Text() []byte {
	var b bytes.Buffer
	b.WriteString("# The Debian packages that images are made of. Written by `keelson build --update-lock`; format: imagebuilder/pkgs.\n")
	fmt.Fprintf(&b, "suite %s\nepoch %d\n", l.Suite, l.Epoch.Unix())
	for _, p := range l.Packages {
		fmt.Fprintf(&b, "%s %s %s %s %d %s %s %s\n", p.Group, p.Name, p.Version, p.Arch, p.Size, p.SHA256, p.Source, p.SourceVersion)
	}
	return b.Bytes()
}
