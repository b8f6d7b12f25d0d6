// Package overlays holds trees of files that are laid over every root. overlays/NAME/ has the
// files at their target paths, and "manifest", which lists everything the overlay makes, one
// line each; a file that is not listed is an error, so that nothing gets in by accident and no
// mode comes from a checkout's umask:
//
//	dir  MODE PATH
//	file MODE PATH
//	link PATH TARGET
//
// MODE is octal, PATH is relative to the root. Owners are always root. "#" starts a comment.
//
// Two folders are no overlays, they are in the node process itself: "manifests", the packaged
// components' objects, and "charts", a folder per Helm chart.
package overlays

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

var (
	//go:embed all:base
	embedded embed.FS
	//go:embed all:manifests
	manifests embed.FS
	//go:embed all:charts
	charts embed.FS
)

// Base is the overlay of every root: the folders, links and the few files of /etc.
const Base = "base"

// Entry is one directory, file or symbolic link of an overlay.
type Entry struct {
	Path   string      // relative to the root, e.g. "etc/passwd"
	Mode   fs.FileMode // with type bits
	Target string      // of a link
	Data   []byte      // of a file
}

// Manifests returns the files of the packaged components, at their paths below the
// auto-deploy folder. They have placeholders: see package cluster/addon/packaged.
func Manifests() fs.FS { return below(manifests, "manifests") }

// Charts returns the packaged Helm charts, a folder each.
func Charts() fs.FS { return below(charts, "charts") }

func below(fsys fs.FS, folder string) fs.FS {
	sub, err := fs.Sub(fsys, folder)
	if err != nil {
		panic("BUG: " + err.Error()) // only an invalid path fails
	}
	return sub
}

// Read returns the entries of the overlay name, in the order of its manifest.
func Read(name string) ([]Entry, error) {
	sub, err := fs.Sub(embedded, name)
	if err != nil {
		return nil, err
	}
	return read(sub, "overlays/"+name)
}

const manifest = "manifest"

// read reads the overlay in fsys; where is used in errors.
func read(fsys fs.FS, where string) ([]Entry, error) {
	text, err := fs.ReadFile(fsys, manifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	var out []Entry
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		e, err := parseLine(fsys, f)
		if err != nil {
			return nil, fmt.Errorf("%s/%s:%d: %w", where, manifest, n, err)
		}
		if seen[e.Path] {
			return nil, fmt.Errorf("%s/%s:%d: %s is there twice", where, manifest, n, e.Path)
		}
		seen[e.Path] = true
		out = append(out, e)
	}
	return out, fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && p != manifest && !seen[p] {
			return fmt.Errorf("%s/%s: the file %s is not listed", where, manifest, p)
		}
		return err
	})
}

// parseLine reads one line's fields.
func parseLine(fsys fs.FS, f []string) (Entry, error) {
	if len(f) != 3 {
		return Entry{}, fmt.Errorf("got %d fields, want 3: \"dir MODE PATH\", \"file MODE PATH\" or \"link PATH TARGET\"", len(f))
	}
	if f[0] == "link" {
		if !fs.ValidPath(f[1]) || f[1] == "." {
			return Entry{}, fmt.Errorf("path %q: want a clean relative path", f[1])
		}
		return Entry{Path: f[1], Mode: fs.ModeSymlink | 0o777, Target: f[2]}, nil
	}
	bits, err := strconv.ParseUint(f[1], 8, 12)
	if err != nil || bits&0o6000 != 0 {
		return Entry{}, fmt.Errorf("mode %q: want octal digits without setuid and setgid", f[1])
	}
	if !fs.ValidPath(f[2]) || f[2] == "." {
		return Entry{}, fmt.Errorf("path %q: want a clean relative path", f[2])
	}
	e := Entry{Path: f[2], Mode: fs.FileMode(bits & 0o777)}
	if bits&0o1000 != 0 {
		e.Mode |= fs.ModeSticky
	}
	switch f[0] {
	case "dir":
		e.Mode |= fs.ModeDir
		return e, nil
	case "file":
		e.Data, err = fs.ReadFile(fsys, path.Clean(f[2]))
		return e, err
	}
	return Entry{}, fmt.Errorf("%q: want dir, file or link", f[0])
}
