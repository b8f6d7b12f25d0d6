package manifest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// maxFile is the size of a file in bytes beyond which it is refused: etcd's limit for an
// object is 1.5 MiB, and a file holds a few.
const maxFile = 64 << 20

// stamp tells cheaply whether a file may have changed.
type stamp struct {
	size  int64
	mtime int64 // nanoseconds
}

// found is a manifest in the folder.
type found struct {
	stamp   stamp
	skipped bool // a .skip file is beside it
	linked  bool // it is behind a link to a folder, hence not ours to remove
}

// scan returns the manifests below dir. A folder that is not there has none. Links to files
// and to folders are followed, but a linked folder's links to folders are not: they may turn
// in circles.
func scan(dir string) (map[string]found, error) {
	out := map[string]found{}
	return out, walk(out, dir, dir, false)
}

// walk adds what is in the folder real under the path shown.
func walk(out map[string]found, real, shown string, linked bool) error {
	return filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		as := filepath.Join(shown, strings.TrimPrefix(path, real))
		info, err := os.Stat(path)
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile, or a link to nothing
		}
		if info.IsDir() && !linked {
			target, err := filepath.EvalSymlinks(path)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			return walk(out, target, as, true)
		}
		if !info.Mode().IsRegular() || !isManifest(d.Name()) {
			return nil
		}
		_, err = os.Lstat(path + ".skip")
		out[as] = found{stamp{info.Size(), info.ModTime().UnixNano()}, err == nil, linked}
		return nil
	})
}

// isManifest goes by a file's name alone. Editors and this package's kin write to files
// whose names begin with a dot.
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// load returns a file's bytes and their hash.
func load(path string) ([]byte, [32]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, [32]byte{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, [32]byte{}, err
	}
	if len(text) > maxFile {
		return nil, [32]byte{}, fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return text, sha256.Sum256(text), nil
}

// decode splits a YAML or JSON stream into objects, in the order in which they can be created;
// lists become their items.
func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		var content map[string]any
		if err := yaml.Unmarshal(document, &content); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if len(content) == 0 {
			continue // only comments
		}
		object := &unstructured.Unstructured{Object: content}
		if !object.IsList() {
			objects = append(objects, object)
		} else if err := object.EachListItem(func(item runtime.Object) error {
			objects = append(objects, item.(*unstructured.Unstructured))
			return nil
		}); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
	for i, o := range objects {
		if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
			return nil, fmt.Errorf("object %d: expected apiVersion, kind and metadata.name, found %q, %q and %q", i+1, o.GetAPIVersion(), o.GetKind(), o.GetName())
		}
	}
	for _, o := range objects {
		for _, field := range []string{"annotations", "labels"} {
			if value, _, _ := unstructured.NestedFieldNoCopy(o.Object, "metadata", field); value == nil {
				continue
			}
			// Values like true and 1 would be lost, with all others, when the marks are added.
			if _, _, err := unstructured.NestedStringMap(o.Object, "metadata", field); err != nil {
				return nil, fmt.Errorf("%s %s: metadata.%s: expected strings, put other values in quotes: %w", o.GetKind(), o.GetName(), field, err)
			}
		}
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return objects, nil
}

// rank puts what others need first: definitions, then namespaces, then the rest as written.
func rank(o *unstructured.Unstructured) int { return rankOf(o.GetKind()) }

func rankOf(kind string) int {
	switch kind {
	case "CustomResourceDefinition":
		return 0
	case "Namespace":
		return 1
	}
	return 2
}
