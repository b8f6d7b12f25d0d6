package extra

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keelson-os/keelson/imagebuilder/tree"
	"github.com/keelson-os/keelson/overlays"
)

// Layer is what one source adds to a root.
type Layer struct {
	// Given is what the user wrote, or the board's folder: errors begin with it.
	Given string
	// Entries are in an order in which a folder comes before what is in it.
	Entries []tree.Entry
}

// ErrNothing says that a folder has no files: most likely it is the wrong one.
var ErrNothing = errors.New("there is no file in it")

// ErrLink says that a symbolic link would lead to something else on the node than it does here.
var ErrLink = errors.New("the symbolic link leads out")

// ErrType says that something is neither a file nor a folder nor a symbolic link.
var ErrType = errors.New("not a file, a folder or a symbolic link")

// File reads a --file argument and what it names. A symbolic link that is named is followed; those in a folder are
// kept, and must be relative and stay in the folder.
// Errors: ErrSyntax, ErrNothing, ErrLink, ErrType, *fs.PathError.
func File(arg string) (Layer, error) {
	l := Layer{Given: "--file " + arg}
	from, to, err := ParseFile(arg)
	if err != nil {
		return l, err
	}
	base, err := baseName(from)
	if err != nil {
		return l, fmt.Errorf("%s: %w", l.Given, err)
	}
	if strings.HasSuffix(to, "/") {
		to = path.Join(to, base)
	}
	to = strings.TrimPrefix(to, "/")
	origin := tree.Origin{Kind: tree.User, Name: "file " + base}
	st, err := os.Stat(from)
	if err != nil {
		return l, fmt.Errorf("%s: %w", l.Given, err)
	}
	switch {
	case st.Mode().IsRegular():
		l.Entries = []tree.Entry{{Path: to, Mode: fileMode(st.Mode()), File: from, Origin: origin}}
	case st.IsDir():
		l.Entries, err = walk(from, to, origin, func(dir, target string) bool {
			return !path.IsAbs(target) && filepath.IsLocal(path.Join(dir, target))
		})
	default:
		err = fmt.Errorf("%s is a %s: %w", from, typeName(st.Mode()), ErrType)
	}
	if err != nil {
		return l, fmt.Errorf("%s: %w", l.Given, err)
	}
	return l, nil
}

// Overlay reads a tree that is laid over the root, so that dir/etc/motd becomes /etc/motd. Symbolic links are kept;
// they may be absolute, which is then a path of the node's, and relative ones must stay in the tree.
// Errors as File.
func Overlay(dir string) (Layer, error) {
	l := Layer{Given: "--overlay " + dir}
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is a file: want a folder whose files are at their paths on the node; a single file is given by --file SRC:DST", dir)
	}
	var base string
	if err == nil {
		base, err = baseName(dir)
	}
	if err == nil {
		l.Entries, err = walk(dir, ".", tree.Origin{Kind: tree.User, Name: "overlay " + base}, func(at, target string) bool {
			return path.IsAbs(target) || filepath.IsLocal(path.Join(at, target))
		})
	}
	if err != nil {
		return l, fmt.Errorf("%s: %w", l.Given, err)
	}
	return l, nil
}

// Embedded returns the overlay of this repository that has the name.
func Embedded(name string) (Layer, error) {
	l := Layer{Given: "overlays/" + name}
	entries, err := overlays.Read(name)
	for _, e := range entries {
		l.Entries = append(l.Entries, tree.Entry{Path: e.Path, Mode: e.Mode, Link: e.Target, Data: e.Data, Origin: tree.Origin{Kind: tree.Keelson, Name: "overlay " + name}})
	}
	return l, err
}

// Board returns the layer of the files that a board's folder has for the root: path in the root to content.
func Board(name string, files map[string][]byte) Layer {
	l := Layer{Given: "boards/" + name + "/root"}
	for p, data := range files {
		l.Entries = append(l.Entries, tree.Entry{Path: p, Mode: 0o644, Data: data, Origin: tree.Origin{Kind: tree.Keelson, Name: "board " + name}})
	}
	slices.SortFunc(l.Entries, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return l
}

// baseName is the last element of a path, also of "." and "..".
func baseName(file string) (string, error) {
	full, err := filepath.Abs(file)
	return filepath.Base(full), err
}

// fileMode is the mode that a file gets in a root.
func fileMode(m fs.FileMode) fs.FileMode {
	if m.Perm()&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// walk returns what is in the folder from, at its place below to, "." being the root. stays says
// whether a link in the folder dir (relative to from) may have the target.
func walk(from, to string, origin tree.Origin, stays func(dir, target string) bool) ([]tree.Entry, error) {
	real, err := filepath.EvalSymlinks(from) // WalkDir does not follow from itself
	if err != nil {
		return nil, err
	}
	var out []tree.Entry
	found := false
	err = filepath.WalkDir(real, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(real, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if err := checkName(rel); err != nil {
			return err
		}
		e := tree.Entry{Path: path.Join(to, rel), Origin: origin}
		if e.Path == "." {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			e.Mode = fs.ModeDir | 0o755
		case 0:
			e.Mode, e.File, found = fileMode(info.Mode()), file, true
		case fs.ModeSymlink:
			if e.Link, err = os.Readlink(file); err != nil {
				return err
			}
			if !stays(path.Dir(rel), e.Link) {
				return fmt.Errorf("%s: %w: its target is %s, want one in the same tree", rel, ErrLink, e.Link)
			}
			e.Mode, found = fs.ModeSymlink|0o777, true
		default:
			return fmt.Errorf("%s is a %s: %w", rel, typeName(info.Mode()), ErrType)
		}
		out = append(out, e)
		return nil
	})
	if err == nil && !found {
		err = ErrNothing
	}
	return out, err
}

// typeName says in words what ErrType is about.
func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// checkName refuses names that a bill of materials, or a line on a screen, could not hold.
func checkName(name string) error {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q: want a name in UTF-8 without control characters", name)
	}
	return nil
}
