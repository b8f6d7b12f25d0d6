package imagebuilder

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/disk"
	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/imagebuilder/output"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/vmimage"
)

// Build builds an image. Whatever goes wrong, the files of an earlier build stay as they are.
// Errors a caller may tell apart: *boards.UnknownError, *config.Errors, *rootfs.ProgramsError,
// those of pkgs.Open and oci.Inspect, output.ErrTarget, *output.FullError.
// A build whose ctx ends returns an error that wraps ctx's, whatever it was doing.
func Build(ctx context.Context, o Options) (*Result, error) {
	b, files, err := prepareImage(o)
	if err != nil {
		return nil, err
	}
	r, err := b.build(ctx, files)
	return r, b.stopped(ctx, err, "image")
}

// stopped returns err, or what to tell of a build that ctx ended.
func (b *builder) stopped(ctx context.Context, err error, what string) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	// What a tool said when it was killed is of no interest.
	return fmt.Errorf("stopped before the %s was complete; nothing was written to %s: %w", what, filepath.Dir(b.opts.Out), context.Cause(ctx))
}

func (b *builder) build(ctx context.Context, files userFiles) (*Result, error) {
	if b.opts.ConfigPath == "" {
		b.progress.Note("no configuration given: the node will wait for " + config.FileName + " (and " + config.SecretsName + ") on the image's FAT partition")
	}
	img, err := b.newImage(ctx)
	if err != nil {
		return nil, err
	}
	if img.archives, err = b.embedImages(ctx, img.sys); err != nil {
		return nil, err
	}
	if err := b.memo.save(); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	img.manifests = files.manifests
	if err := b.layout(img, files.config); err != nil {
		return nil, err
	}
	return b.write(ctx, img)
}

// userFiles are the user's own small files, checked.
type userFiles struct {
	config    []fat.File
	manifests []embedded
}

// prepareImage checks everything that can be checked before the long work.
func prepareImage(o Options) (*builder, userFiles, error) {
	var files userFiles
	if o.Compress != "" && o.Compress != "zst" {
		return nil, files, fmt.Errorf("--compress %s: only zst is possible", o.Compress)
	}
	format, err := o.format()
	if err != nil {
		return nil, files, err
	}
	imageFile, sbomFile, manifestFile, _ := o.names()
	b, err := prepare(o, imageFile, sbomFile, manifestFile)
	if err != nil {
		return nil, files, err
	}
	b.format = format
	if o.ConfigPath != "" {
		node, secrets, err := config.Files(o.ConfigPath)
		if err != nil {
			return nil, files, err
		}
		files.config = append(files.config, dataFile(config.FileName, node))
		if secrets != nil {
			files.config = append(files.config, dataFile(config.SecretsName, secrets))
		}
	}
	files.manifests, err = embedManifests(o.Manifests)
	return b, files, err
}

// versions are what a version may be: a word of the kernel's command line that needs no quotes.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$`)

// prepare checks what images and bundles have in common, and that the targets can be written.
func prepare(o Options, targets ...string) (*builder, error) {
	board, err := boards.Load(o.Board)
	if err != nil {
		return nil, err
	}
	if o.UpdateLock && o.LockFile == "" {
		return nil, errors.New("--update-lock: say which file to write with --lock")
	}
	for _, f := range targets {
		if err := output.Check(f); err != nil {
			return nil, err
		}
	}
	if !versions.MatchString(o.Version) {
		return nil, fmt.Errorf("--version %q: want a letter or a digit, and then up to 63 letters, digits, and characters of \".+~_-\"", o.Version)
	}
	if o.Serial < 0 || o.MinimumSerial < 0 {
		return nil, fmt.Errorf("--serial %d, --minimum-serial %d: want no negative numbers", o.Serial, o.MinimumSerial)
	}
	if o.MinimumSerial > o.Serial {
		return nil, fmt.Errorf("--minimum-serial %d is above the serial, %d: a node that runs this would refuse this very version", o.MinimumSerial, o.Serial)
	}
	if err := checkKargs(o.Kargs); err != nil {
		return nil, err
	}
	b := &builder{opts: o, board: board, progress: o.Progress, cache: o.CacheDir}
	if err := b.readAdded(); err != nil {
		return nil, err
	}
	if b.progress == nil {
		b.progress = silent{}
	}
	var cfg *config.Config
	if o.ConfigPath != "" {
		if cfg, err = config.Load(o.ConfigPath); err != nil {
			return nil, err
		}
	}
	b.traefik = wantsTraefik(cfg)
	if b.keys, err = b.trustedKeys(); err != nil {
		return nil, err
	}
	if b.cache == "" {
		if b.cache, err = pkgs.DefaultCacheDir(); err != nil {
			return nil, err
		}
	}
	if b.cache, err = filepath.Abs(b.cache); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	b.memo = openMemo(filepath.Join(b.cache, "digests.json"))
	return b, nil
}

// image is what is put on the disk.
type image struct {
	sys        *system
	configured bool
	archives   []embedded
	manifests  []embedded
	cmdline    string
	slot       []fat.File // slot a's boot files on the FAT partition
	esp        []fat.File // all of the FAT partition
	espSize    int64
	parts      []part // what the boot chain made, for the manifest
	bootState  []byte // content of the bootstate area
	disk       disk.Disk
	extents    []disk.Extent
	diskSize   int64
	content    int64 // bytes that are written; the rest are holes
}

// newImage returns an image with the system and what its boot chain reads, and tells the user what is in them.
func (b *builder) newImage(ctx context.Context) (*image, error) {
	b.noteKeys()
	sys, err := b.system(ctx)
	if err != nil {
		return nil, err
	}
	b.noteReplaced(sys.info.Added)
	if sys.info.Kubernetes == "" {
		b.progress.Note("the program node has no Kubernetes in it: upgrades will not be checked for what Kubernetes allows to skip")
	}
	img := &image{sys: sys, configured: b.opts.ConfigPath != ""}
	if img.cmdline, err = cmdline(b.board, sys.info.Tree, b.identity(sys.info.Kubernetes), b.opts.Kargs); err != nil {
		return nil, err
	}
	return img, b.bootFiles(img)
}

// layout decides what goes where.
func (b *builder) layout(img *image, configFiles []fat.File) error {
	var err error
	// Room for the slots of two more versions: the other slot's and the one being written.
	free := int64(32 << 20)
	for _, f := range img.slot {
		free += 2 * f.Size
	}
	img.esp = append(append(img.esp, img.slot...), configFiles...)
	for _, e := range append(img.archives[:len(img.archives):len(img.archives)], img.manifests...) {
		img.esp = append(img.esp, e.file)
	}
	if img.disk.Seed, err = img.digest(b, configFiles); err != nil {
		return err
	}
	start := b.board.PartitionSize("esp")
	if img.espSize, err = fat.Fit(img.esp, start, 64<<20, free); err != nil {
		return err
	}
	if img.espSize > start {
		b.progress.Note(fmt.Sprintf("the ESP has %d MiB instead of %d: the embedded files need it", img.espSize>>20, start>>20))
	}
	if err := b.partitions(img); err != nil {
		return err
	}
	img.extents, img.diskSize, err = disk.Layout(img.disk.Partitions)
	for _, f := range img.esp {
		img.content += f.Size
	}
	for _, blob := range img.disk.Blobs {
		img.content += int64(len(blob.Data))
	}
	img.content += img.sys.info.Tree.Size + 4<<20 // tables and directories
	return err
}

// digest covers everything in the image; the disk's GUIDs derive from it, so that two
// images share them only if they are the same.
func (img *image) digest(b *builder, configFiles []fat.File) ([32]byte, error) {
	h := sha256.New()
	fmt.Fprintf(h, "image\x00%s\x00%s\x00%s\x00", b.board.Name, img.sys.info.Key, img.cmdline)
	for _, f := range configFiles {
		r, err := f.Open()
		if err != nil {
			return [32]byte{}, err
		}
		fmt.Fprintf(h, "%s\x00%d\x00", f.Path, f.Size)
		_, err = io.Copy(h, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return [32]byte{}, err
		}
	}
	for _, list := range [][]embedded{img.archives, img.manifests} {
		for _, e := range list {
			fmt.Fprintf(h, "%s\x00%s\x00", e.file.Path, e.sha256)
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

// partitionType is the type of a partition by its name; root's depends on the architecture.
func partitionType(name, arch string) string {
	switch name {
	case "esp":
		return disk.TypeESP
	case "bootstate":
		return disk.TypeBootState
	case "root-a", "root-b":
		if arch == "arm64" {
			return disk.TypeRootARM64
		}
		return disk.TypeRootAMD64
	case "bios":
		return disk.TypeBIOSBoot
	}
	return disk.TypeLinux
}

// partitions lists the board's partitions with their content, and what has a place without one.
func (b *builder) partitions(img *image) error {
	d := &img.disk
	d.MBR = b.board.Table == boards.TableMBR
	offset := int64(disk.FirstOffset)
	for _, p := range b.board.Partitions {
		part := disk.Partition{Name: p.Name, Type: partitionType(p.Name, b.board.Arch), Size: int64(p.Size), At: int64(p.At)}
		switch p.Name {
		case "esp":
			part.Size = img.espSize
			part.Write = b.espWriter(img, offset)
		case "bootstate":
			if p.At != bootStateAt {
				return fmt.Errorf("boards/%s/board.yaml: partitions: bootstate is at %d, want %d: boot loaders look for it there", b.board.Name, p.At, bootStateAt)
			}
			part.Write = writeBytes(img.bootState)
		case "root-a":
			part.Write = img.writeRoot
		case "bios":
			core, err := img.sys.read(biosCoreFile)
			if err != nil {
				return err
			}
			part.Write = writeBytes(core)
		}
		if p.At == 0 {
			offset += part.Size
		}
		d.Partitions = append(d.Partitions, part)
	}
	if b.board.BIOS != "" {
		var err error
		if d.BootCode, err = img.sys.read(biosBootFile); err != nil {
			return err
		}
	}
	for i, r := range img.sys.info.Raw {
		data, err := img.sys.read(rawFile(i))
		if err != nil {
			return err
		}
		d.Blobs = append(d.Blobs, disk.Blob{Name: r.Name, Offset: r.At, Data: data})
	}
	return nil
}

// bootStateAt is where the bootstate area is on every board, bytes.
const bootStateAt = 15 << 20

// writeBytes returns a partition's writer of data, from its start on.
func writeBytes(data []byte) func(context.Context, io.WriterAt) error {
	return func(_ context.Context, w io.WriterAt) error {
		_, err := w.WriteAt(data, 0)
		return err
	}
}

func (b *builder) espWriter(img *image, offset int64) func(context.Context, io.WriterAt) error {
	id := disk.UUID(img.disk.Seed, "esp volume id")
	v := fat.Volume{
		Size: img.espSize, Label: "KEELSON", ID: binary.BigEndian.Uint32(id[:]),
		Time: img.sys.info.Epoch, Hidden: uint32(offset / 512),
	}
	return func(ctx context.Context, w io.WriterAt) error { return fat.Write(ctx, w, v, img.esp) }
}

// writeRoot copies the root with its verity tree.
func (img *image) writeRoot(ctx context.Context, w io.WriterAt) (err error) {
	f, err := os.Open(img.sys.path(rootFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := disk.CopySparse(ctx, w, f)
	if err == nil && n != img.sys.info.Tree.Size {
		err = fmt.Errorf("%s: has %d bytes, want %d: %w", img.sys.path(rootFile), n, img.sys.info.Tree.Size, io.ErrUnexpectedEOF)
	}
	return err
}

// counted reports the bytes written to a file as progress.
type counted struct {
	*output.File
	progress Progress
	written  int64
	next     time.Time
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	n, err := c.File.WriteAt(p, off)
	c.written += int64(n)
	if now := time.Now(); now.After(c.next) {
		c.next = now.Add(reportEvery)
		c.progress.Done(c.written)
	}
	return n, err
}

// reportEvery is the time between two reports of progress.
const reportEvery = 100 * time.Millisecond

// write writes the image and the files beside it, and puts them all in their places at the end.
func (b *builder) write(ctx context.Context, img *image) (_ *Result, err error) {
	imageFile, sbomName, manifestName, compressed := b.opts.names()
	perm := os.FileMode(0o644)
	if img.configured {
		perm = 0o600 // it holds the cluster's keys
	}
	out, err := output.Create(imageFile, perm)
	if err != nil {
		return nil, err
	}
	abort := func(f *output.File) {
		if e := f.Abort(); e != nil && err != nil {
			err = errors.Join(err, e)
		}
	}
	defer abort(out)
	m := b.manifest(img, filepath.Base(imageFile))
	raw := out
	if compressed || b.format.NeedsTool() {
		// The raw image, which is mostly holes, lies beside the target while it is compressed or converted.
		if raw, err = output.Create(imageFile+".raw", 0o600); err != nil {
			return nil, err
		}
		defer abort(raw)
	}
	if err := raw.Expect(img.content); err != nil {
		return nil, err
	}
	b.progress.Step("writing the image", img.content)
	if err := disk.Write(ctx, &counted{File: raw, progress: b.progress}, img.disk); err != nil {
		return nil, err
	}
	size := img.diskSize
	if b.format != vmimage.Raw {
		if size, err = b.convert(ctx, out, raw, img); err != nil {
			return nil, err
		}
	} else if compressed {
		b.progress.Step("compressing the image", img.diskSize)
		var sum string
		size, sum, err = compress(ctx, out, raw.File, img.diskSize, b.limited())
		if err != nil {
			return nil, fmt.Errorf("compress the image: %w", err)
		}
		m.File = &fileInfo{Size: size, SHA256: sum}
	}

	text, err := m.text()
	if err != nil {
		return nil, err
	}
	bill, err := img.sys.read(sbomFile)
	if err != nil {
		return nil, err
	}
	b.progress.Step("flushing to the disk", 0)
	if err := commit(out, beside{sbomName, bill}, beside{manifestName, text}); err != nil {
		return nil, err
	}
	return &Result{Image: imageFile, Size: size, DiskSize: img.diskSize, SBOM: sbomName, Manifest: manifestName, RootHash: m.RootHash, Format: b.format}, nil
}

// beside is a small file that appears with the one that is built.
type beside struct {
	name string
	data []byte
}

// commit writes the small files and puts all in their places. out is the caller's to abort after an error.
func commit(out *output.File, small ...beside) (err error) {
	commits := []*output.File{out}
	defer func() {
		for _, f := range commits[1:] { // nothing happens to those that are in their places
			if e := f.Abort(); e != nil && err != nil {
				err = errors.Join(err, e)
			}
		}
	}()
	for _, s := range small {
		f, err := output.Create(s.name, 0o644)
		if err != nil {
			return err
		}
		commits = append(commits, f)
		if _, err := f.Write(s.data); err != nil {
			return err
		}
	}
	for _, f := range commits {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// limited returns Progress.Done, called not more often than reportEvery.
func (b *builder) limited() func(int64) {
	var next time.Time
	return func(n int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(reportEvery)
			b.progress.Done(n)
		}
	}
}

// manifest describes the image.
func (b *builder) manifest(img *image, name string) *manifest {
	info := &img.sys.info
	m := &manifest{
		Image: name, Board: b.board.Name, Arch: b.board.Arch, Version: b.opts.Version, Kernel: info.KernelVersion,
		Serial: b.opts.Serial, MinimumSerial: b.opts.MinimumSerial, Kubernetes: info.Kubernetes, Keys: []string{},
		Cmdline: img.cmdline, Kargs: append([]string{}, b.opts.Kargs...), RootHash: hex.EncodeToString(info.Tree.RootHash[:]),
		DiskSize: img.diskSize, Config: img.configured, Packages: info.Packages,
		Root:    rootManifest{Format: info.RootFormat, Filesystem: info.RootSize, WithVerity: info.Tree.Size},
		Format:  b.format,
		Modules: b.modules(),
		Files:   append([]addedFile{}, info.Added...),
		Images:  []imageInfo{},
		Applied: []part{},
	}
	for _, k := range b.keys {
		m.Keys = append(m.Keys, k.String())
	}
	of := img.sys.part
	m.Parts = append([]part{of("root", rootFile), of("kernel", kernelFile), of("initramfs", initrdFile)}, img.parts...)
	for i, r := range info.Raw {
		p := of(r.Name, rawFile(i))
		p.At = r.At
		m.Parts = append(m.Parts, p)
	}
	for _, a := range img.archives {
		i := imageInfo{File: a.file.Path, Size: a.file.Size, SHA256: a.sha256}
		for _, f := range a.images {
			i.Refs = append(i.Refs, f.Ref)
		}
		m.Images = append(m.Images, i)
	}
	for _, a := range img.manifests {
		m.Applied = append(m.Applied, part{Name: a.file.Path, Size: a.file.Size, SHA256: a.sha256})
	}
	for i, p := range img.disk.Partitions {
		m.Layout = append(m.Layout, partition{Name: p.Name, Offset: img.extents[i].Offset, Size: img.extents[i].Size})
	}
	return m
}
