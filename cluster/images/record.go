// Package images imports OCI and docker archives into containerd: those that come with
// the system, and those that users put into k3s's folder agent/images.
package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// record says which archives are in the store already, by path. It lies beside the store,
// so that a store that is lost takes its record with it.
type record struct {
	path  string
	Files map[string]entry `json:"files"`
}

// entry describes an archive at the time of its import.
type entry struct {
	Size   int64    `json:"size"`  // bytes
	MTime  int64    `json:"mtime"` // ns since 1970
	SHA256 string   `json:"sha256"`
	Images []string `json:"images"` // their names in the store
}

// readRecord reads the record, an empty one if there is none or it is damaged: the worst
// that follows is an import that was not needed.
func readRecord(path string) *record {
	r := &record{path: path}
	if text, err := os.ReadFile(path); err == nil {
		if json.Unmarshal(text, r) != nil {
			r.Files = nil
		}
	}
	if r.Files == nil {
		r.Files = make(map[string]entry)
	}
	return r
}

// write keeps the record in one step.
func (r *record) write() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := r.path + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, r.path)
}

// replace records e for an archive and returns the images that were recorded for it before
// and that no archive has now.
func (r *record) replace(path string, e entry) []string {
	old := r.Files[path].Images
	r.Files[path] = e
	return slices.DeleteFunc(slices.Clone(old), func(name string) bool {
		for _, e := range r.Files {
			if slices.Contains(e.Images, name) {
				return true
			}
		}
		return false
	})
}

// forget drops entries whose file is gone.
func (r *record) forget() {
	for path := range r.Files {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			delete(r.Files, path)
		}
	}
}

// file is an archive to import.
type file struct {
	path  string
	size  int64
	mtime int64
}

// list returns the archives in dir, by name. A folder that is missing has none.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []file
	for _, e := range entries {
		if !isArchive(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			out = append(out, file{path, info.Size(), info.ModTime().UnixNano()})
		}
	}
	return out, nil
}

// isArchive knows k3s's suffixes.
func isArchive(name string) bool {
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
			return true
		}
	}
	return false
}

// known says whether a was imported before. trusted folders may be recognised by size and
// time; in others (a read-only system whose files all have one date) the hash decides.
// The entry returned is the one to record, its hash filled in unless it was not needed.
func (r *record) known(a file, trustTime bool) (entry, bool, error) {
	old, ok := r.Files[a.path]
	now := entry{Size: a.size, MTime: a.mtime}
	if ok && trustTime && old.Size == a.size && old.MTime == a.mtime {
		return old, true, nil
	}
	sum, err := hash(a.path)
	if err != nil {
		return entry{}, false, err
	}
	now.SHA256 = sum
	if ok && old.SHA256 == sum {
		now.Images = old.Images
		return now, true, nil
	}
	return now, false, nil
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
