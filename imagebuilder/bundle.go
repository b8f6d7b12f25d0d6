package imagebuilder

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/imagebuilder/output"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// BundleOptions say what to make a bundle of.
type BundleOptions struct {
	// Options are those of an image with the same system; Out is the bundle's file. A bundle brings no configuration: ConfigPath
	// only says whether Traefik belongs to the system, and where the keys of the next bundle are. EmbedImages, Manifests, Format and
	// Compress are an image's alone and must be empty.
	Options
	// Key signs the bundle.
	Key bundle.PrivateKey
	// Created is in the manifest, in whole seconds; zero: the time of the files in the root, which is that of the packages.
	Created time.Time
}

// BundleResult is what Bundle made.
type BundleResult struct {
	File     string
	Size     int64  // bytes
	SBOM     string // SPDX file beside the bundle
	Manifest bundle.Manifest
	Key      string // id of the key that signed it
}

// Names of artefacts: the root with its hash tree, and a slot's boot files.
const (
	rootArtefact = "root"
	bootArtefact = "boot/"
	ukiArtefact  = bootArtefact + "uki.efi"
)

// Bundle writes a signed bundle of one system, for the upgrade of nodes of its board. Equal options give equal bytes. Beside
// it comes Out + ".spdx.json", the bill of materials of its root. Errors: those of Build for the same options.
func Bundle(ctx context.Context, o BundleOptions) (*BundleResult, error) {
	for flag, given := range map[string]bool{
		"--embed-image": len(o.EmbedImages) > 0, "--manifest": len(o.Manifests) > 0, "--format": o.Format != "", "--compress": o.Compress != "",
	} {
		if given {
			return nil, fmt.Errorf("%s: not for a bundle, which brings the system alone; what a node has of its own stays", flag)
		}
	}
	b, err := prepare(o.Options, o.Out, bundleSBOM(o.Out))
	if err != nil {
		return nil, err
	}
	r, err := b.bundle(ctx, o)
	return r, b.stopped(ctx, err, "bundle")
}

// bundleSBOM is the name of the bill of materials; the whole of the bundle's name is in it, for an image of the same
// name may lie beside it, of another version.
func bundleSBOM(out string) string { return out + ".spdx.json" }

func (b *builder) bundle(ctx context.Context, o BundleOptions) (_ *BundleResult, err error) {
	img, err := b.newImage(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.memo.save(); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	sources, size := img.artefacts(ctx)
	bill, err := img.sys.read(sbomFile)
	if err != nil {
		return nil, err
	}
	out, err := output.Create(o.Out, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := out.Abort(); e != nil && err != nil {
			err = errors.Join(err, e)
		}
	}()
	if err := out.Expect(size); err != nil {
		return nil, err
	}
	b.progress.Step("writing the bundle", size)
	if err := bundle.Write(&counted{File: out, progress: b.progress}, b.bundleManifest(img, o.Created), sources, o.Key); err != nil {
		return nil, err
	}
	st, err := out.Stat()
	if err != nil {
		return nil, err
	}
	header, err := bundle.ReadHeader(out, st.Size())
	if err != nil {
		return nil, fmt.Errorf("read back the bundle: %w", err)
	}
	key, err := header.Verify([]bundle.PublicKey{o.Key.Public()})
	if err != nil {
		return nil, fmt.Errorf("read back the bundle: %w", err)
	}
	b.progress.Step("flushing to the disk", 0)
	if err := commit(out, beside{bundleSBOM(o.Out), bill}); err != nil {
		return nil, err
	}
	return &BundleResult{File: o.Out, Size: st.Size(), SBOM: bundleSBOM(o.Out), Manifest: header.Manifest, Key: key.KeyID()}, nil
}

// bundleManifest describes the system; bundle.Write adds what it writes.
func (b *builder) bundleManifest(img *image, created time.Time) bundle.Manifest {
	info := &img.sys.info
	if created.IsZero() {
		created = info.Epoch
	}
	return bundle.Manifest{
		Board: b.board.Name, Arch: b.board.Arch, Version: b.opts.Version, Serial: b.opts.Serial, MinimumSerial: b.opts.MinimumSerial,
		Kubernetes: info.Kubernetes, Kernel: info.KernelVersion, Created: created.UTC().Format(time.RFC3339),
		RootHash: hex.EncodeToString(info.Tree.RootHash[:]),
	}
}

// artefacts returns what a bundle brings to a slot, and about how many bytes that is. Reading ends with ctx.
func (img *image) artefacts(ctx context.Context) (list []bundle.Source, size int64) {
	add := func(name string, f fat.File) {
		list = append(list, bundle.Source{Name: name, Size: f.Size, Open: func() (io.ReadCloser, error) {
			r, err := f.Open()
			if err != nil {
				return nil, err
			}
			return &bounded{ctx, r}, nil
		}})
		size += f.Size
	}
	root := img.sys.path(rootFile)
	add(rootArtefact, fat.File{Size: img.sys.info.Tree.Size, Open: func() (io.ReadCloser, error) { return os.Open(root) }})
	for _, f := range img.slot {
		add(artefactName(f.Path), f)
	}
	return list, size
}

// artefactName is the name in a bundle of a boot file of slot a, by its path on the FAT partition.
func artefactName(path string) string {
	if name, ok := strings.CutPrefix(path, slotFolder); ok {
		return bootArtefact + name
	}
	return ukiArtefact
}

// bounded is a file whose reading ends when ctx does.
type bounded struct {
	ctx context.Context
	io.ReadCloser
}

func (r *bounded) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReadCloser.Read(p)
}
