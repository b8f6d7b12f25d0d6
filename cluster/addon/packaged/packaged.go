// Package packaged puts the packaged components' manifests into the auto-deploy folder,
// from where package manifest applies them.
//
// As in k3s the files are the node's: what people change in them is gone after the next
// start, and a NAME.skip beside a file keeps it from being applied, not from being written.
package packaged

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/keelson-os/keelson/cluster/addon/manifest"
	"github.com/keelson-os/keelson/cluster/pki"
)

// later are the placeholders that stay in the files, as in k3s: the helm controller replaces
// them in the objects it reads.
var later = []string{"KUBERNETES_API"}

// needHelm are the files, without extension, that hold nothing but HelmCharts. Without the
// helm controller there is no such kind.
var needHelm = []string{"traefik"}

// Options say what to write where.
type Options struct {
	Dir   string // the auto-deploy folder; it is made
	Files fs.FS  // overlays.Manifests(); other files than manifests are ignored
	// Values replace %{NAME}% in the files.
	Values map[string]string
	// Disabled names components and folders whose files are not written; see
	// manifest.Disabled. Those of an earlier start are package manifest's to remove.
	Disabled []string
}

// Stage writes the files that are not there as they should be, each in one step, and touches
// no other. It goes on after an error and returns all.
func Stage(o Options) error {
	disabled := slices.Clone(o.Disabled)
	if slices.Contains(disabled, "helm-controller") {
		disabled = append(disabled, needHelm...)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("packaged manifests: %w", err)
	}
	var faults []error
	err := fs.WalkDir(o.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) || manifest.Disabled(path, disabled) {
			return err
		}
		text, err := fs.ReadFile(o.Files, path)
		if err == nil {
			text, err = render(text, o.Values)
		}
		if err == nil {
			// In one step and synced: a file cut short would delete what it lacks. Mode 0600 is k3s's.
			err = pki.WriteFile(filepath.Join(o.Dir, filepath.FromSlash(path)), text, 0o600)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("packaged manifest %s: %w", path, err))
		}
		return nil
	})
	return errors.Join(append(faults, err)...)
}

var placeholder = regexp.MustCompile(`%\{([A-Za-z0-9_]+)\}%`)

// render replaces the placeholders.
func render(text []byte, values map[string]string) ([]byte, error) {
	var faults []error
	out := placeholder.ReplaceAllFunc(text, func(found []byte) []byte {
		name := string(found[2 : len(found)-2])
		if value, ok := values[name]; ok {
			return []byte(value)
		}
		if !slices.Contains(later, name) {
			faults = append(faults, fmt.Errorf("BUG: no value for the placeholder %s", found))
		}
		return found
	})
	return out, errors.Join(faults...)
}
