// Package runc compiles runc, the one program of an image that needs cgo (libseccomp), as
// a static position-independent executable against Debian's own libraries.
//
// The host lends only its C compiler: headers, libc.a and libseccomp.a come from locked
// Debian packages, merged into one sysroot, so that every host makes the same program.
package runc

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
)

//go:embed packages-*.lock
var locks embed.FS

// module is the command that the module in Options.Source pins with its tool line.
const module = "github.com/opencontainers/runc"

// target is what a GOARCH means to a C compiler.
type target struct {
	triplet  string // GNU triplet, also Debian's library folder
	compiler string // Debian package of the cross compiler
}

var targets = map[string]target{
	"amd64": {"x86_64-linux-gnu", "gcc-x86-64-linux-gnu"},
	"arm64": {"aarch64-linux-gnu", "gcc-aarch64-linux-gnu"},
}

// Options say what to build from where.
type Options struct {
	Arch       string // amd64 or arm64
	Source     string // folder of the module that requires runc
	Out        string // the program's file
	CacheDir   string // empty: pkgs.DefaultCacheDir
	Mirror     string // as pkgs.Options.Mirror
	UpdateLock string // as pkgs.Options.UpdateLock
	AllowMoved bool   // as pkgs.Options.AllowMoved
	Log        func(line string)
}

// Build compiles runc. Errors are those of pkgs.Open, *pkgs.ToolError without a C compiler,
// and the compiler's own words.
func Build(ctx context.Context, o Options) error {
	t, ok := targets[o.Arch]
	if !ok {
		return fmt.Errorf("architecture %q: want amd64 or arm64", o.Arch)
	}
	name := "packages-" + o.Arch + ".lock"
	lock, err := locks.ReadFile(name)
	if err != nil && o.UpdateLock == "" {
		return fmt.Errorf("no package lock for %s: %w; write one with --update-lock", o.Arch, err)
	}
	set, err := pkgs.Open(ctx, pkgs.Options{
		Spec: pkgs.Spec{
			Suite: "trixie",
			Arch:  o.Arch,
			// libc6 and libseccomp2 are for cgo's dynamic trial link, the others for the program.
			Data: []string{"libc6", "libc6-dev", "linux-libc-dev", "libseccomp2", "libseccomp-dev"},
		},
		Lock: lock, LockName: name, UpdateLock: o.UpdateLock, AllowMoved: o.AllowMoved,
		CacheDir: o.CacheDir, Mirror: o.Mirror, Log: o.Log,
	})
	if err != nil {
		return fmt.Errorf("runc's libraries: %w", err)
	}
	sysroot, err := merge(o.CacheDir, set.Packages())
	if err != nil {
		return err
	}
	cc, err := compiler(o.Arch, t)
	if err != nil {
		return err
	}
	return compile(ctx, o, t, cc, sysroot)
}

// compiler finds the C compiler for arch.
func compiler(arch string, t target) (string, error) {
	name, pkg := t.triplet+"-gcc", t.compiler
	if arch == runtime.GOARCH {
		name, pkg = "gcc", "gcc"
	}
	cc, err := exec.LookPath(name)
	if err != nil {
		return "", &pkgs.ToolError{Tool: name, Package: pkg, Err: err}
	}
	return cc, nil
}

// merge copies the packages' trees into one sysroot in the cache, once per set of
// packages, and returns its path. Packages never share a file, so their order is of no matter.
func merge(cacheDir string, packages []pkgs.Package) (string, error) {
	if cacheDir == "" {
		var err error
		if cacheDir, err = pkgs.DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	h := sha256.New()
	for _, p := range packages {
		fmt.Fprintln(h, p.Name, p.SHA256)
	}
	parent, err := filepath.Abs(filepath.Join(cacheDir, "sysroot"))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, hex.EncodeToString(h.Sum(nil)[:16]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	for _, p := range packages {
		if err := os.CopyFS(temp, os.DirFS(p.Dir)); err != nil {
			return "", fmt.Errorf("sysroot: package %s: %w", p.Name, err)
		}
	}
	// libc.so is a linker script with paths below /lib and /lib64.
	for _, link := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(temp, link)); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("sysroot: %w", err)
		}
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr == nil {
			return dir, nil // another build was first
		}
		return "", fmt.Errorf("sysroot: %w", err)
	}
	return dir, nil
}

// compile runs the Go tool in the module that pins runc.
func compile(ctx context.Context, o Options, t target, cc, sysroot string) error {
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return err
	}
	libs := filepath.Join(sysroot, "usr", "lib", t.triplet)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out,
		"-tags", "seccomp urfave_cli_no_docs netgo osusergo", "-buildmode=pie",
		// No build ids: Go's covers the compiler's path, the linker's the debug information.
		"-ldflags", "-s -w -buildid= -linkmode=external -extldflags '-static-pie -Wl,--build-id=none'",
		module)
	cmd.Dir = o.Source
	cmd.Env = append(os.Environ(),
		"GOOS=linux", "GOARCH="+o.Arch, "CGO_ENABLED=1", "GOFLAGS=-trimpath -buildvcs=false",
		// Without -B gcc takes the host's libc.a before the sysroot's.
		"CC="+cc+" --sysroot="+sysroot+" -B"+libs,
		"CGO_CFLAGS=-O2", "CGO_LDFLAGS=-O2",
		"PKG_CONFIG_SYSROOT_DIR="+sysroot, "PKG_CONFIG_LIBDIR="+filepath.Join(libs, "pkgconfig"))
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile runc for %s: %w\n%s", o.Arch, err, strings.TrimSpace(string(output)))
	}
	return nil
}
