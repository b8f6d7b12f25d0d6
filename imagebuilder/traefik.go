package imagebuilder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/oci"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
)

// Traefik's image lies in the root and not among the images on the ESP, so that a new version of
// the root brings the version of Traefik that its chart asks for. It is in every root but one
// whose configuration disables it: the bytes are a third of such an image.
const traefikProgram = "traefik" // in Options.Programs

// wantsTraefik says whether an image with the configuration cfg has Traefik's image in it.
// Nil is an image without a configuration, which may get any.
func wantsTraefik(cfg *config.Config) bool {
	return cfg == nil || !cfg.Cluster.Disabled("traefik")
}

// makeTraefik writes Traefik's container image to the folder dir and returns the file.
// *rootfs.ProgramsError: the program is not built.
func (b *builder) makeTraefik(dir string, set *pkgs.Set) (string, error) {
	b.progress.Step("packing Traefik", 0)
	program, err := os.ReadFile(filepath.Join(b.opts.Programs, traefikProgram))
	if errors.Is(err, fs.ErrNotExist) {
		return "", &rootfs.ProgramsError{Dir: b.opts.Programs, Missing: []string{traefikProgram}}
	}
	if err != nil {
		return "", err
	}
	authorities, err := rootfs.Authorities(set)
	if err != nil {
		return "", fmt.Errorf("certificate authorities for Traefik: %w", err)
	}
	file := filepath.Join(dir, config.TraefikImage)
	return file, create(file, func(w io.Writer) error {
		return oci.WriteArchive(w, oci.Traefik(program, authorities, b.board.Arch), set.Epoch())
	})
}
