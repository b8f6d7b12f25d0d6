package imagebuilder

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/imagebuilder/oci"
)

// embedded is one file that the user put into the image.
type embedded struct {
	file   fat.File
	source string // as the user gave it
	sha256 string
	images []oci.Found // for a container image archive
}

// keepArchives is how many unpacked container image archives the cache holds.
const keepArchives = 16

// embedImages checks the archives and returns them as plain tars in config.SeedImages. Those
// that are compressed are unpacked into the cache.
func (b *builder) embedImages(ctx context.Context, sys *system) ([]embedded, error) {
	var out []embedded
	from := map[string]string{}
	for _, source := range b.opts.EmbedImages {
		var e embedded
		var err error
		if source == oci.BusyboxRef {
			e, err = b.embedBusybox(sys)
		} else {
			e, err = b.embedImage(ctx, source)
		}
		if err != nil {
			return nil, fmt.Errorf("--embed-image %s: %w", source, err)
		}
		if other, ok := from[e.file.Path]; ok {
			return nil, fmt.Errorf("--embed-image %s: has the same file name as %s; rename one of them", source, other)
		}
		from[e.file.Path] = source
		out = append(out, e)
	}
	return out, nil
}

// embedBusybox returns the builder's own test image.
func (b *builder) embedBusybox(sys *system) (embedded, error) {
	info := sys.info.Files[busyboxFile]
	e := embedded{source: oci.BusyboxRef, sha256: info.SHA256, file: openFile(path.Join(config.SeedImages, busyboxFile), sys.path(busyboxFile), info.Size)}
	f, err := os.Open(sys.path(busyboxFile))
	if err != nil {
		return e, err
	}
	defer f.Close()
	e.images, err = oci.Inspect(f, info.Size, b.board.Arch)
	return e, err
}

// embedImage checks one archive of the user's.
func (b *builder) embedImage(ctx context.Context, source string) (embedded, error) {
	e := embedded{source: source}
	if st, err := os.Stat(source); err != nil {
		return e, err
	} else if !st.Mode().IsRegular() {
		return e, fmt.Errorf("%w: not a regular file", oci.ErrNotArchive)
	}
	sum, err := b.memo.sum(source)
	if err != nil {
		return e, err
	}
	dir := filepath.Join(b.cache, "archive", hex.EncodeToString(sum[:16])+"-"+b.board.Arch)
	info, err := readArchiveInfo(dir)
	if errors.Is(err, fs.ErrNotExist) {
		b.progress.Step("checking "+filepath.Base(source), 0)
		info, err = b.checkArchive(ctx, source, dir)
	}
	if err != nil {
		return e, err
	}
	now := time.Now() // marks it as used, for prune; no part of any artefact
	if err := os.Chtimes(dir, now, now); err != nil {
		return e, err
	}
	file := source
	if info.Unpacked {
		file = filepath.Join(dir, "image.tar")
	}
	tarSum, err := b.memo.sum(file)
	if err != nil {
		return e, err
	}
	e.sha256, e.images = hex.EncodeToString(tarSum[:]), info.Images
	e.file = openFile(path.Join(config.SeedImages, tarName(source)), file, info.Size)
	return e, nil
}

// archiveInfo is what the cache remembers of an archive.
type archiveInfo struct {
	Unpacked bool  // the plain tar is image.tar beside this
	Size     int64 // of the plain tar, bytes
	Images   []oci.Found
}

func readArchiveInfo(dir string) (archiveInfo, error) {
	var info archiveInfo
	text, err := os.ReadFile(filepath.Join(dir, "info.json"))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(text, &info)
}

// checkArchive inspects an archive and writes what it found, and the plain tar if the
// archive is compressed, to the new folder dir.
func (b *builder) checkArchive(ctx context.Context, source, dir string) (archiveInfo, error) {
	var info archiveInfo
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return info, err
	}
	temp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return info, err
	}
	defer os.RemoveAll(temp)
	in, err := os.Open(source)
	if err != nil {
		return info, err
	}
	defer in.Close()
	tar, err := os.Create(filepath.Join(temp, "image.tar"))
	if err != nil {
		return info, err
	}
	defer tar.Close()
	compressed, err := isCompressed(in)
	if err != nil {
		return info, err
	}
	if compressed {
		info.Unpacked = true
		if info.Size, err = oci.Decompress(ctx, tar, in); err != nil {
			return info, err
		}
	} else {
		st, err := in.Stat()
		if err != nil {
			return info, err
		}
		info.Size = st.Size()
		tar = in
	}
	if info.Images, err = oci.Inspect(tar, info.Size, b.board.Arch); err != nil {
		return info, err
	}
	text, err := json.Marshal(info)
	if err != nil {
		return info, err
	}
	if err := os.WriteFile(filepath.Join(temp, "info.json"), text, 0o644); err != nil {
		return info, err
	}
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return info, err
	}
	return info, prune(parent, keepArchives)
}

// isCompressed says whether the file is anything but a plain tar, whose magic stands at
// byte 257; a file that is neither is left to oci.Decompress to refuse.
func isCompressed(f *os.File) (bool, error) {
	head := make([]byte, 512)
	if n, err := f.ReadAt(head, 0); n < len(head) && !errors.Is(err, io.EOF) {
		return false, err
	}
	return !bytes.HasPrefix(head[257:], []byte("ustar")), nil
}

// tarName is the file name of an archive in the image.
func tarName(source string) string {
	name := filepath.Base(source)
	for _, ext := range []string{".gz", ".zst", ".tgz", ".tzst", ".tar"} {
		name = strings.TrimSuffix(name, ext)
	}
	return name + ".tar"
}

// openFile returns a file of the ESP with the content of a file here.
func openFile(name, file string, size int64) fat.File {
	return fat.File{Path: name, Size: size, Open: func() (io.ReadCloser, error) { return os.Open(file) }}
}

// dataFile returns a file of the ESP with the content data.
func dataFile(name string, data []byte) fat.File {
	return fat.File{Path: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// maxManifest bounds a manifest: the API server takes no object above 3 MiB, a file may hold several.
const maxManifest = 16 << 20

// embedManifests checks the manifests and returns them in config.SeedManifests.
func embedManifests(paths []string) ([]embedded, error) {
	var out []embedded
	from := map[string]string{}
	for _, source := range paths {
		st, err := os.Stat(source)
		if err != nil {
			return nil, fmt.Errorf("--manifest: %w", err)
		}
		if st.Size() > maxManifest {
			return nil, fmt.Errorf("--manifest %s: has %d bytes, more than %d", source, st.Size(), maxManifest)
		}
		data, err := os.ReadFile(source)
		if err != nil {
			return nil, fmt.Errorf("--manifest: %w", err)
		}
		if err := checkManifest(data); err != nil {
			return nil, fmt.Errorf("--manifest %s: %w", source, err)
		}
		name := filepath.Base(source)
		switch filepath.Ext(name) {
		case ".yaml", ".yml", ".json":
		default:
			return nil, fmt.Errorf("--manifest %s: the name must end in .yaml, .yml or .json, or the node does not apply it", source)
		}
		if other, ok := from[name]; ok {
			return nil, fmt.Errorf("--manifest %s: has the same file name as %s; rename one of them", source, other)
		}
		from[name] = source
		out = append(out, embedded{file: dataFile(path.Join(config.SeedManifests, name), data), source: source, sha256: sha256Hex(data)})
	}
	return out, nil
}

// checkManifest looks for what would keep a node from applying a manifest at all: it must be YAML
// whose documents are objects with apiVersion and kind. Empty documents are allowed.
func checkManifest(data []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	found := false
	for n := 1; ; n++ {
		var object map[string]any
		err := d.Decode(&object)
		if errors.Is(err, io.EOF) {
			if !found {
				return errors.New("no Kubernetes object in it")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
		if object == nil {
			continue
		}
		for _, key := range []string{"apiVersion", "kind"} {
			if s, ok := object[key].(string); !ok || s == "" {
				return fmt.Errorf("document %d: %s is missing, so it is not a Kubernetes object", n, key)
			}
		}
		found = true
	}
}
