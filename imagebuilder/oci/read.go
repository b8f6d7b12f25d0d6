package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// Errors of Inspect and Decompress.
var (
	// ErrNotArchive: the file is neither an OCI layout nor a "docker save" archive, or broken.
	ErrNotArchive = errors.New("not a container image archive")
	// ErrPlatform: the archive has no image for the wanted architecture.
	ErrPlatform = errors.New("image is for another platform")
	// ErrNoName: an image in the archive has no name, so that no pod could refer to it.
	ErrNoName = errors.New("image has no name")
)

// Found is one image of an archive that a node of the wanted architecture can run.
type Found struct {
	Ref    string // as it is called in the node's store
	Digest string // of its manifest, or of its configuration in a "docker save" archive
}

const (
	// maxJSON bounds a manifest or configuration: registries refuse more than 4 MiB.
	maxJSON = 8 << 20
	// maxMembers bounds the files of an archive.
	maxMembers = 100_000
)

// howToMake ends the errors for files that are something else.
const howToMake = `make one with "docker save", "podman save" or "skopeo copy … oci-archive:…"`

// Decompress copies an archive to w as a plain tar: unpacked if r is gzip or zstd, else
// unchanged. Other formats are ErrNotArchive. It returns the bytes written.
func Decompress(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	magic, err := br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var plain io.Reader = br
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return 0, fmt.Errorf("%w: gzip: %w", ErrNotArchive, err)
		}
		plain = z
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			return 0, fmt.Errorf("%w: zstd: %w", ErrNotArchive, err)
		}
		defer z.Close()
		plain = z
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(magic, []byte("BZh")), bytes.HasPrefix(magic, []byte{4, 0x22, 0x4d, 0x18}):
		return 0, fmt.Errorf("%w: compressed with xz, bzip2 or lz4; give a .tar, .tar.gz or .tar.zst", ErrNotArchive)
	}
	// Only errors of our own reading are the archive's fault, those of w are not.
	src := &source{ctx: ctx, r: plain}
	n, err := io.Copy(w, src)
	if src.err != nil {
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		return n, fmt.Errorf("%w: unpack: %w", ErrNotArchive, src.err)
	}
	return n, err
}

// source remembers the error with which reading stopped.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// dockerManifest is an entry of a "docker save" archive's manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive is a plain tar with the place of every regular file.
type archive struct {
	r       io.ReaderAt
	members map[string]*io.SectionReader
	links   map[string]string // symbolic and hard links, as "docker save" has for repeated layers
	checked map[v1.Hash]bool
}

// Inspect reads a plain tar of size bytes and returns the images in it for linux/arch.
// Every blob of those is checked against its digest.
// Errors: ErrNotArchive, ErrPlatform, ErrNoName, those of r.
func Inspect(r io.ReaderAt, size int64, arch string) ([]Found, error) {
	a, err := scan(r, size)
	if err != nil {
		return nil, err
	}
	_, layout := a.members["oci-layout"]
	_, index := a.members["index.json"]
	_, docker := a.members["manifest.json"]
	switch {
	case layout && index:
		return a.layout(arch)
	case docker:
		return a.docker(arch)
	}
	return nil, fmt.Errorf("%w: it has neither oci-layout and index.json nor manifest.json; %s", ErrNotArchive, howToMake)
}

// scan notes where every member is.
func scan(r io.ReaderAt, size int64) (*archive, error) {
	a := &archive{r: r, members: map[string]*io.SectionReader{}, links: map[string]string{}, checked: map[v1.Hash]bool{}}
	section := io.NewSectionReader(r, 0, size)
	tr := tar.NewReader(section)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if n == 0 && err != nil {
			return nil, fmt.Errorf("%w: not a tar file; %s", ErrNotArchive, howToMake)
		}
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read tar: %w", ErrNotArchive, err)
		}
		if n == maxMembers {
			return nil, fmt.Errorf("%w: more than %d files", ErrNotArchive, maxMembers)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := section.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if h.Size > size-at {
				return nil, fmt.Errorf("%w: %s: %w", ErrNotArchive, name, io.ErrUnexpectedEOF)
			}
			a.members[name] = io.NewSectionReader(r, at, h.Size)
		case tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		}
	}
}

// open returns a member, following links.
func (a *archive) open(name string) (*io.SectionReader, bool) {
	name = path.Clean(name)
	for range 10 {
		if m, ok := a.members[name]; ok {
			return io.NewSectionReader(m, 0, m.Size()), true
		}
		to, ok := a.links[name]
		if !ok {
			return nil, false
		}
		name = to
	}
	return nil, false
}

// read decodes a JSON member.
func (a *archive) read(name string, into any) error {
	m, ok := a.open(name)
	if !ok {
		return fmt.Errorf("%w: %s is missing", ErrNotArchive, name)
	}
	if m.Size() > maxJSON {
		return fmt.Errorf("%w: %s has %d bytes, more than %d", ErrNotArchive, name, m.Size(), maxJSON)
	}
	b, err := io.ReadAll(m)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotArchive, name, err)
	}
	return nil
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// has says whether the blob is in the archive.
func (a *archive) has(h v1.Hash) bool {
	_, ok := a.open(blobName(h))
	return ok
}

// check compares a blob with its digest.
func (a *archive) check(d v1.Descriptor) error {
	if a.checked[d.Digest] {
		return nil
	}
	m, ok := a.open(blobName(d.Digest))
	if !ok {
		return fmt.Errorf("%w: blob %s is missing", ErrNotArchive, d.Digest)
	}
	if d.Digest.Algorithm != "sha256" {
		return fmt.Errorf("%w: blob %s: only sha256 digests are known", ErrNotArchive, d.Digest)
	}
	h := sha256.New()
	if _, err := io.Copy(h, m); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.Digest.Hex || m.Size() != d.Size {
		return fmt.Errorf("%w: blob %s has %d bytes with sha256 %s, its descriptor says %d bytes: the file is damaged", ErrNotArchive, d.Digest, m.Size(), got, d.Size)
	}
	a.checked[d.Digest] = true
	return nil
}

// layout reads an OCI layout.
func (a *archive) layout(arch string) ([]Found, error) {
	var index v1.IndexManifest
	if err := a.read("index.json", &index); err != nil {
		return nil, err
	}
	var found []Found
	var other []string
	nameless := 0
	for _, d := range index.Manifests {
		ok, platforms, err := a.usable(d, arch, 0)
		if err != nil {
			return nil, err
		}
		other = append(other, platforms...)
		if !ok {
			continue
		}
		ref := d.Annotations[nameAnnotation]
		if ref == "" {
			ref = d.Annotations[refAnnotation]
		}
		if !strings.ContainsAny(ref, "/:") {
			nameless++
			continue
		}
		found = append(found, Found{Ref: ref, Digest: d.Digest.String()})
	}
	return result(found, nameless, other, arch)
}

// usable says whether a manifest or index is, or has, a complete image for linux/arch,
// and which platforms it has otherwise. Blobs of the usable ones are checked.
func (a *archive) usable(d v1.Descriptor, arch string, depth int) (bool, []string, error) {
	if depth > 3 {
		return false, nil, fmt.Errorf("%w: indexes nested more than three deep", ErrNotArchive)
	}
	if !a.has(d.Digest) {
		// An index of many platforms may come with one of them only.
		return false, nil, nil
	}
	if err := a.check(d); err != nil {
		return false, nil, err
	}
	switch d.MediaType {
	case types.OCIImageIndex, types.DockerManifestList:
		var index v1.IndexManifest
		if err := a.read(blobName(d.Digest), &index); err != nil {
			return false, nil, err
		}
		var other []string
		any := false
		for _, m := range index.Manifests {
			ok, platforms, err := a.usable(m, arch, depth+1)
			if err != nil {
				return false, nil, err
			}
			any = any || ok
			other = append(other, platforms...)
		}
		return any, other, nil
	case types.OCIManifestSchema1, types.DockerManifestSchema2:
	default:
		return false, nil, fmt.Errorf("%w: manifest %s has media type %q", ErrNotArchive, d.Digest, d.MediaType)
	}
	var m v1.Manifest
	if err := a.read(blobName(d.Digest), &m); err != nil {
		return false, nil, err
	}
	if m.Config.MediaType != types.OCIConfigJSON && m.Config.MediaType != types.DockerConfigJSON {
		return false, nil, nil // an attestation or other artefact, not an image
	}
	if err := a.check(m.Config); err != nil {
		return false, nil, err
	}
	var config v1.ConfigFile
	if err := a.read(blobName(m.Config.Digest), &config); err != nil {
		return false, nil, err
	}
	if config.OS != "linux" || config.Architecture != arch {
		return false, []string{config.OS + "/" + config.Architecture}, nil
	}
	for _, l := range m.Layers {
		if err := a.check(l); err != nil {
			return false, nil, err
		}
	}
	return true, nil, nil
}

// docker reads a "docker save" archive of the kind without an OCI layout.
func (a *archive) docker(arch string) ([]Found, error) {
	var manifests []dockerManifest
	if err := a.read("manifest.json", &manifests); err != nil {
		return nil, err
	}
	var found []Found
	var other []string
	nameless := 0
	for _, m := range manifests {
		var config v1.ConfigFile
		if err := a.read(m.Config, &config); err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			if _, ok := a.open(l); !ok {
				return nil, fmt.Errorf("%w: layer %s is missing", ErrNotArchive, l)
			}
		}
		if config.OS != "linux" || config.Architecture != arch {
			other = append(other, config.OS+"/"+config.Architecture)
			continue
		}
		if len(m.RepoTags) == 0 {
			nameless++
			continue
		}
		for _, ref := range m.RepoTags {
			id := strings.TrimSuffix(path.Base(m.Config), ".json")
			found = append(found, Found{Ref: ref, Digest: "sha256:" + id})
		}
	}
	return result(found, nameless, other, arch)
}

// result turns what was found into the answer.
func result(found []Found, nameless int, other []string, arch string) ([]Found, error) {
	switch {
	case nameless > 0:
		return nil, fmt.Errorf("%w: save it by name and tag (docker save example.com/app:1), not by its id", ErrNoName)
	case len(found) == 0 && len(other) > 0:
		slices.Sort(other)
		return nil, fmt.Errorf("%w: the archive has %s, the board needs linux/%s; build or pull it with --platform linux/%s", ErrPlatform, strings.Join(slices.Compact(other), ", "), arch, arch)
	case len(found) == 0:
		return nil, fmt.Errorf("%w: no image in it", ErrNotArchive)
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Ref, b.Ref) })
	return found, nil
}
