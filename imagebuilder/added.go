package imagebuilder

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/extra"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// added is what a build adds to the root beside the system itself: the board's overlays and files, then the user's.
type added struct {
	layers []extra.Layer
	// sums are the digests of the user's files as they were when the system's key was made of them.
	sums map[string][32]byte
}

// addedFile describes a file or link that was added to the root.
type addedFile struct {
	Source   string `json:"source"` // "file app.conf", "overlay site", "board NAME"
	Path     string `json:"path"`   // on the node
	Mode     string `json:"mode,omitempty"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256,omitempty"`
	Link     string `json:"link,omitempty"`     // a symbolic link's target
	Replaces string `json:"replaces,omitempty"` // what the system, or an earlier layer, has there
}

// addedModule is a kernel module, or a pattern of modules, that board.yaml names to be loaded or that the user asked for.
type addedModule struct {
	Module string `json:"module"`
	Source string `json:"source"` // "board" or "user"
	Load   bool   `json:"load"`   // at boot
}

// readAdded reads the layers, and refuses what can be seen to be impossible without the packages.
func (b *builder) readAdded() error {
	for _, m := range b.opts.Modules {
		if m == "" || !fs.ValidPath(m) || strings.ContainsAny(m, " \t\n") {
			return fmt.Errorf("--module %q: want a module's name, as in i2c-dev, or its path or a pattern, as in drivers/net/wireguard or fs/nls/nls_*", m)
		}
		if _, err := filepath.Match(m, ""); err != nil {
			return fmt.Errorf("--module %s: %w", m, err)
		}
	}
	add := func(l extra.Layer, err error) error {
		if err == nil {
			b.added.layers = append(b.added.layers, l)
		}
		return err
	}
	for _, name := range b.board.Overlays {
		if err := add(extra.Embedded(name)); err != nil {
			return fmt.Errorf("boards/%s/board.yaml: overlays: %w", b.board.Name, err)
		}
	}
	if len(b.board.RootFiles) > 0 {
		b.added.layers = append(b.added.layers, extra.Board(b.board.Name, b.board.RootFiles))
	}
	for _, dir := range b.opts.Overlays {
		if err := add(extra.Overlay(dir)); err != nil {
			return err
		}
	}
	for _, arg := range b.opts.Files {
		if err := add(extra.File(arg)); err != nil {
			return err
		}
	}
	layout, err := rootfs.Layout()
	if err != nil {
		return err
	}
	_, err = extra.Lay(layout, b.added.layers)
	return err
}

// addToKey writes what the user adds to the root, with its content, to the digest that a system's key is made of.
func (b *builder) addToKey(h hash.Hash) error {
	fmt.Fprintf(h, "modules\x00%q", b.opts.Modules)
	b.added.sums = map[string][32]byte{}
	for _, l := range b.added.layers {
		fmt.Fprintf(h, "layer\x00%d", len(l.Entries))
		for _, e := range l.Entries {
			fmt.Fprintf(h, "%q%q%q%d", e.Path, e.Link, e.Origin.Name, e.Mode)
			if e.File == "" {
				fmt.Fprintf(h, "%q", e.Data)
				continue
			}
			sum, err := b.memo.sum(e.File)
			if err != nil {
				return fmt.Errorf("%s: %w", l.Given, err)
			}
			b.added.sums[e.File] = sum
			h.Write(sum[:])
		}
	}
	return nil
}

// describeAdded returns what was laid over the root, whose digests are sums. A file that has changed since the
// system's key was made is an error: the cache would have it under a wrong key.
func (b *builder) describeAdded(laid []extra.Laid, sums map[string]tree.Sum) ([]addedFile, error) {
	var out []addedFile
	for _, e := range laid {
		a := addedFile{Source: e.Origin.Name, Path: "/" + e.Path, Link: e.Link, Replaces: e.Replaces}
		if e.Mode.IsRegular() {
			s := sums[e.Path]
			if before, ok := b.added.sums[e.File]; ok && before != s.SHA256 {
				return nil, fmt.Errorf("%s changed while the image was built; build it again", e.File)
			}
			a.Mode, a.Size, a.SHA256 = fmt.Sprintf("%04o", e.Mode.Perm()), s.Size, hex.EncodeToString(s.SHA256[:])
		}
		out = append(out, a)
	}
	return out, nil
}

// maxNoted is how many replaced files the note about them names.
const maxNoted = 8

// noteReplaced tells the user which files of the system theirs stand in for.
func (b *builder) noteReplaced(files []addedFile) {
	var paths []string
	for _, f := range files {
		if f.Replaces != "" && !strings.HasPrefix(f.Source, "board ") {
			paths = append(paths, f.Path)
		}
	}
	if more := len(paths) - maxNoted; more > 0 {
		paths = append(paths[:maxNoted], fmt.Sprintf("and %d more (the manifest names them)", more))
	}
	if len(paths) > 0 {
		b.progress.Note("replaced in the root: " + strings.Join(paths, ", "))
	}
}

// modules returns what is in the image, or loaded at boot, by its name in board.yaml or by the user's wish.
func (b *builder) modules() []addedModule {
	out := []addedModule{}
	add := func(source string, names []string) {
		for _, m := range names {
			a := addedModule{Module: m, Source: source, Load: kmod.IsName(m)}
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	add("board", b.board.Modules.Load)
	add("user", b.opts.Modules)
	return out
}
