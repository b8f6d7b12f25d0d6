package oci

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// nameAnnotation is the name under which containerd stores an imported image.
	nameAnnotation = "io.containerd.image.name"
	// refAnnotation is the OCI way, often a bare tag.
	refAnnotation = "org.opencontainers.image.ref.name"
)

// Image is a container image of one layer.
type Image struct {
	Ref   string // full name with tag, "keelson.dev/pause:1"
	Arch  string // GOARCH
	Files []File
	// Compress makes a layer compressed with zstd: the node's store keeps the layer beside the
	// unpacked files, and a system's archives are read anew at every boot.
	Compress bool
	// Config as in the OCI image configuration.
	Entrypoint, Cmd, Env []string
	User                 string
}

// File is a file, directory or symbolic link of an image, owned by root.
type File struct {
	Path string // without leading slash
	Mode int64  // permission bits as in chmod(2)
	Data []byte // content of a file
	Link string // target of a symbolic link
	Dir  bool
}

// WriteArchive writes the image as an archive; all its times are epoch.
func WriteArchive(w io.Writer, img Image, epoch time.Time) error {
	epoch = epoch.UTC().Truncate(time.Second)
	tarred, err := layerTar(img.Files, epoch)
	if err != nil {
		return fmt.Errorf("oci: image %s: %w", img.Ref, err)
	}
	layer, err := newLayer(tarred, img.Compress)
	if err != nil {
		return fmt.Errorf("oci: image %s: %w", img.Ref, err)
	}
	built, err := build(img, layer, epoch)
	if err != nil {
		return fmt.Errorf("oci: image %s: %w", img.Ref, err)
	}
	if err := writeLayout(w, img, built, layer, epoch); err != nil {
		return fmt.Errorf("oci: write archive of %s: %w", img.Ref, err)
	}
	return nil
}

// build returns the image with its configuration.
func build(img Image, layer *layer, epoch time.Time) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	built, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	cfg, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", img.Arch
	cfg.Created = v1.Time{Time: epoch}
	cfg.History = []v1.History{{Created: v1.Time{Time: epoch}, CreatedBy: "keelson build"}}
	cfg.Config = v1.Config{Entrypoint: img.Entrypoint, Cmd: img.Cmd, Env: img.Env, User: img.User}
	return mutate.ConfigFile(built, cfg)
}

// layerTar returns the layer, parents before children.
func layerTar(files []File, epoch time.Time) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, f := range files {
		if f.Path == "" || path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) || strings.HasPrefix(f.Path, "..") {
			return nil, fmt.Errorf("path %q: want a clean relative path", f.Path)
		}
		h := &tar.Header{Name: f.Path, Mode: f.Mode, ModTime: epoch, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: int64(len(f.Data))}
		switch {
		case f.Dir:
			h.Name += "/"
			h.Typeflag = tar.TypeDir
		case f.Link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := tw.Write(f.Data); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// writeLayout writes the tar of the OCI layout.
func writeLayout(w io.Writer, img Image, built v1.Image, layer *layer, epoch time.Time) error {
	manifest, err := built.RawManifest()
	if err != nil {
		return err
	}
	config, err := built.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := built.Digest()
	if err != nil {
		return err
	}
	configDigest, err := built.ConfigName()
	if err != nil {
		return err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType:   types.OCIManifestSchema1,
			Size:        int64(len(manifest)),
			Digest:      digest,
			Annotations: map[string]string{nameAnnotation: img.Ref, refAnnotation: tag(img.Ref)},
			Platform:    &v1.Platform{OS: "linux", Architecture: img.Arch},
		}},
	})
	if err != nil {
		return err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	docker, err := json.Marshal([]dockerManifest{{
		Config:   blob(configDigest),
		RepoTags: []string{img.Ref},
		Layers:   []string{blob(layer.digest)},
	}})
	if err != nil {
		return err
	}

	type member struct {
		name string
		data []byte
	}
	blobs := []member{{blob(digest), manifest}, {blob(configDigest), config}, {blob(layer.digest), layer.packed}}
	slices.SortFunc(blobs, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	tw := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := tw.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, ModTime: epoch, Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	for _, m := range append(blobs, member{"index.json", index}, member{"manifest.json", docker}, member{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}) {
		h := &tar.Header{Name: m.name, Mode: 0o644, ModTime: epoch, Typeflag: tar.TypeReg, Size: int64(len(m.data))}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(m.data); err != nil {
			return err
		}
	}
	return tw.Close()
}

// tag returns what stands behind the last colon of a reference.
func tag(ref string) string {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[i+1:]
	}
	return "latest"
}
