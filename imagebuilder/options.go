package imagebuilder

import (
	"path/filepath"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/vmimage"
)

// Options say what to build.
type Options struct {
	Board   string // name of a board
	Version string // Keelson's, at most 64 of: letters, digits, ".", "+", "~", "_" and "-"
	// Serial numbers what is built, for the protection from going back: not negative. MinimumSerial is the lowest serial of
	// what may replace it, on a node that runs it.
	Serial, MinimumSerial int64
	// TrustKeys are files with minisign public keys: whose bundles a node that runs what is built will take. The keys
	// beside ConfigPath (config.ReleasePublic, config.NextReleasePublic) are taken as well.
	TrustKeys []string
	// Out is the image's file. With Compress, or if it ends in ".zst", the image is written
	// compressed, to a name that ends in ".zst".
	Out      string
	Compress string // "" or "zst"
	// Format is raw, qcow2, vmdk or vhd; empty: what Out ends in, else raw.
	Format string
	// ConfigPath is the machine configuration to embed; empty: none.
	ConfigPath string
	// EmbedImages are container image archives, or the reference of the builder's own test image.
	EmbedImages []string
	Manifests   []string // Kubernetes manifests for the first boot
	Kargs       []string // added to the kernel command line
	// Modules are kernel modules added to the root: by name, and then loaded at boot, or by path or pattern as in board.yaml.
	Modules []string
	// Files are files and folders added to the root, each "SRC:DST", see extra.ParseFile.
	Files []string
	// Overlays are folders laid over the root, later ones over earlier ones, and before Files.
	Overlays []string
	// Programs is the folder with the board's programs.
	Programs string
	CacheDir string // empty: pkgs.DefaultCacheDir
	Mirror   string // as pkgs.Options.Mirror
	// LockFile is used in place of the board's own package lock, if not empty.
	LockFile string
	// UpdateLock resolves the packages anew and writes LockFile.
	UpdateLock bool
	AllowMoved bool // as pkgs.Options.AllowMoved
	// Progress is told what happens; nil: silent.
	Progress Progress
}

// Progress is told what a build does. Its methods are called by one goroutine at a time.
type Progress interface {
	// Step begins a step; it ends when the next one begins. total is its length in bytes,
	// 0 if that is not known.
	Step(name string, total int64)
	// Done says how many bytes of the step are done, several times a second at most.
	Done(bytes int64)
	// Note is a line for the user.
	Note(line string)
}

type silent struct{}

func (silent) Step(string, int64) {}
func (silent) Done(int64)         {}
func (silent) Note(string)        {}

// Result is what Build made.
type Result struct {
	Image    string // file
	Size     int64  // of that file, bytes
	DiskSize int64  // of the disk image, uncompressed
	SBOM     string // SPDX file beside the image
	Manifest string // description of the image beside it
	RootHash string // hex
	Format   vmimage.Format
}

// names returns the files of a build: the image, and what stands beside it.
func (o *Options) names() (image, sbom, manifest string, compress bool) {
	image = o.Out
	compress = o.Compress == "zst" || strings.HasSuffix(image, ".zst")
	if compress && !strings.HasSuffix(image, ".zst") {
		image += ".zst"
	}
	base := strings.TrimSuffix(image, ".zst")
	for _, ext := range vmimage.Extensions() {
		if cut := strings.TrimSuffix(base, ext); filepath.Base(cut) != "" && !strings.HasSuffix(cut, "/") {
			base = cut
		}
	}
	return image, base + ".spdx.json", base + ".manifest.json", compress
}
