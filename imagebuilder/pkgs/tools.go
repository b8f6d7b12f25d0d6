package pkgs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tools are programs of Debian packages that run on the host from the cache, with the
// libraries and the dynamic loader of their own packages, so that what they write does
// not depend on the host's versions.
type Tools struct {
	dir  string
	arch string
	id   string
}

func newTools(cacheDir, hostArch string, tools []Package) *Tools {
	id := toolsID(tools)
	return &Tools{dir: filepath.Join(cacheDir, "tools", id), arch: hostArch, id: id}
}

// ID names the versions of all tools and their libraries: a key for caches of what they wrote.
func (t *Tools) ID() string { return t.id }

// loaders are the dynamic loaders' names below usr/lib/TRIPLET.
var loaders = map[string]struct{ triplet, loader string }{
	"amd64": {"x86_64-linux-gnu", "ld-linux-x86-64.so.2"},
	"arm64": {"aarch64-linux-gnu", "ld-linux-aarch64.so.1"},
}

// Command returns a command that runs the tool name ("mkfs.erofs", "depmod"). Its
// environment is fixed: nothing of the user's locale, time zone or loader settings gets in.
// A tool that is not there is reported when the command is started, as with exec.Command.
func (t *Tools) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	l := loaders[t.arch]
	lib := filepath.Join(t.dir, "usr", "lib", l.triplet)
	prog, err := t.find(name)
	// --argv0: kmod looks at its name to see that it is depmod.
	cmd := exec.CommandContext(ctx, filepath.Join(lib, l.loader),
		append([]string{"--inhibit-cache", "--library-path", lib, "--argv0", name, prog}, args...)...)
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=/nonexistent"}
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// find returns the file of the program name.
func (t *Tools) find(name string) (string, error) {
	for _, d := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
		f := filepath.Join(t.dir, filepath.FromSlash(d), name)
		if fi, err := os.Lstat(f); err == nil {
			if fi.Mode()&os.ModeSymlink != 0 {
				return t.follow(f)
			}
			return f, nil
		}
	}
	return "", fmt.Errorf("%s: not among the tools of the lock (%s)", name, t.dir)
}

// follow resolves a link inside the tools' tree; an absolute target is below its root.
func (t *Tools) follow(link string) (string, error) {
	target, err := os.Readlink(link)
	if err != nil {
		return "", err
	}
	if filepath.IsAbs(target) {
		target = filepath.Join(t.dir, target)
	} else {
		target = filepath.Join(filepath.Dir(link), target)
	}
	if _, err := os.Stat(target); err != nil {
		return "", fmt.Errorf("tool %s: %w", filepath.Base(link), err)
	}
	return target, nil
}
