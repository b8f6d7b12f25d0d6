package extra

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// ErrBelongs says that a path belongs to the node and cannot be another's.
var ErrBelongs = errors.New("cannot be added or replaced")

// own are the paths, with all below them, where nothing can be added, and why.
var own = []struct{ path, why string }{
	{"proc", hidden}, {"sys", hidden}, {"dev", hidden}, {"run", hidden}, {"tmp", hidden}, {"efi", hidden},
	{"var/lib/rancher", hidden}, {"var/lib/kubelet", hidden}, {"var/lib/cni", hidden}, {"var/log", hidden}, {"etc/rancher", hidden},
	{"etc/machine-id", made}, {"etc/hosts", made}, {"etc/resolv.conf", made + ", from the configuration's nameservers"}, {"etc/mtab", made},
	{"etc/os-release", "the build makes it"}, {"etc/" + ModulesLoad, "the build makes it; name modules with --module"},
	{"etc/coredns/custom", made + ", from the ConfigMap coredns-custom"},
	{"usr/lib/modules", "kernel modules are in the kernel's index or are never loaded; add them with --module"},
	{"usr/share/keelson", "it is the system's"},
}

const (
	hidden = "the node mounts something over it, and the file would not be seen"
	made   = "the node makes it itself"
)

// ModulesLoad is the file, in /etc, with the modules that are loaded at boot by name.
// Source: modules-load.d(5).
const ModulesLoad = "modules-load.d/keelson.conf"

// replaceable are the folders whose files of the system a layer may replace.
var replaceable = []string{"etc", "usr/lib/firmware"}

// Laid is an entry that was added to a root.
type Laid struct {
	tree.Entry
	Replaces string // what was there, e.g. "debian e2fsprogs"; empty: nothing
}

// Lay lays layers over t, in their order, and returns their files and links as they are now in t, sorted by path; one
// that a later layer replaced is not among them. Links of t to folders are followed on the way: "lib/firmware/x"
// gets to where the node would look for it. Folders that are there already keep their mode.
//
// Errors name the layer and the path; they wrap ErrBelongs for a path that is the system's.
func Lay(t *tree.Tree, layers []Layer) ([]Laid, error) {
	laid := map[string]Laid{}
	for _, l := range layers {
		for _, e := range l.Entries {
			item, err := lay(t, e)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.Given, err)
			}
			if !item.Mode.IsDir() {
				laid[item.Path] = item
			}
		}
	}
	return slices.SortedFunc(maps.Values(laid), func(a, b Laid) int { return strings.Compare(a.Path, b.Path) }), nil
}

func lay(t *tree.Tree, e tree.Entry) (Laid, error) {
	given := e.Path
	var err error
	if e.Path, err = resolve(t, e.Path, e.Mode.IsDir()); err != nil {
		return Laid{}, err
	}
	old, there := t.Get(e.Path)
	if there && old.Mode.IsDir() && e.Mode.IsDir() {
		return Laid{Entry: e}, nil
	}
	for _, o := range own {
		if e.Path == o.path || strings.HasPrefix(e.Path, o.path+"/") {
			return Laid{}, fmt.Errorf("/%s %w: %s", given, ErrBelongs, o.why)
		}
	}
	if !there {
		if err := t.Add(e); err != nil {
			return Laid{}, fmt.Errorf("/%s: %w", given, err)
		}
		return Laid{Entry: e}, nil
	}
	was := string(old.Origin.Kind) + " " + old.Origin.Name
	switch {
	case old.Mode.IsDir():
		return Laid{}, fmt.Errorf("/%s %w: it is a folder of the root (%s), and what is given for it is not", given, ErrBelongs, was)
	case e.Mode.IsDir():
		return Laid{}, fmt.Errorf("/%s %w: it is no folder in the root (%s), and what is given for it is one", given, ErrBelongs, was)
	case old.Origin.Kind != tree.User && !slices.ContainsFunc(replaceable, func(dir string) bool { return strings.HasPrefix(e.Path, dir+"/") }):
		return Laid{}, fmt.Errorf("/%s %w: it is a part of the system (%s), of which only files below /etc and firmware can be replaced", given, ErrBelongs, was)
	}
	return Laid{Entry: e, Replaces: was}, t.Replace(e)
}

// maxLinks is how many symbolic links a path may have, as Linux counts them (path_resolution(7)).
const maxLinks = 40

// resolve returns where p is, with the links among the folders above it followed, and p itself if folder.
func resolve(t *tree.Tree, p string, folder bool) (string, error) {
	done, rest := ".", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(done, rest[0])
		e, ok := t.Get(next)
		if ok && e.Mode.Type() == fs.ModeSymlink && (folder || len(rest) > 1) {
			if links++; links > maxLinks {
				return "", fmt.Errorf("/%s: more than %d symbolic links on the way", p, maxLinks)
			}
			target := e.Link
			if !path.IsAbs(target) {
				target = path.Join("/", done, target)
			}
			if target = strings.TrimPrefix(path.Clean(target), "/"); target == "" {
				rest = rest[1:]
			} else {
				rest = append(strings.Split(target, "/"), rest[1:]...)
			}
			done = "."
			continue
		}
		done, rest = next, rest[1:]
	}
	return done, nil
}
