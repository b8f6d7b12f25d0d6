package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// staticURL starts the URL of a chart that k3s's API server serves; the middle part is
// replaced by the server's address there. Here such charts are read where they are.
const staticURL = "https://%{KUBERNETES_API}%/static/"

// static returns the path below the static folder that a spec.chart names.
func static(ref string) (string, bool) {
	return strings.CutPrefix(ref, staticURL)
}

// local loads a chart of the static folder or else a packaged one.
func (f *Fetcher) local(name string) (*chart.Chart, error) {
	file, err := f.static(name)
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
		return load(file)
	}
	folder, err := f.packaged(name)
	if err != nil {
		return nil, err
	}
	files, err := read(folder)
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("packaged chart %s: %w", name, err)
	}
	trim(c)
	return c, nil
}

// Digest identifies the content of a chart that is on the node, so that a new version of
// the system, or a new file of the user's, is an upgrade although the HelmChart did not
// change. Charts from elsewhere have none: "".
func (f *Fetcher) Digest(r Request) (string, error) {
	name, ok := static(r.Chart)
	if r.Content != "" || !ok {
		return "", nil
	}
	h := sha256.New()
	file, err := f.static(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	if file != nil {
		defer file.Close()
		if _, err := io.Copy(h, file); err != nil {
			return "", fmt.Errorf("%s: %w", r, err)
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	folder, err := f.packaged(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	files, err := read(folder)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	for _, one := range files {
		fmt.Fprintf(h, "%q %d\n", one.Name, len(one.Data))
		h.Write(one.Data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// static opens a file of the static folder, nil if there is none. Neither .. nor a link
// leads out of the folder.
func (f *Fetcher) static(name string) (*os.File, error) {
	if f.Static == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(f.Static)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("static folder %s: %w", f.Static, err)
	}
	return file, nil
}

// packaged returns the folder of a chart that comes with the node, for charts/NAME.tgz.
func (f *Fetcher) packaged(name string) (fs.FS, error) {
	missing := fmt.Errorf("%s is not in %s and does not come with the node: put the chart's archive there", name, f.Static)
	base, ok := strings.CutSuffix(name, ".tgz")
	base, inCharts := strings.CutPrefix(base, "charts/")
	if f.Packaged == nil || !ok || !inCharts || strings.Contains(base, "/") || !fs.ValidPath(base) {
		return nil, missing
	}
	if _, err := fs.Stat(f.Packaged, path.Join(base, "Chart.yaml")); err != nil {
		return nil, missing
	}
	return fs.Sub(f.Packaged, base)
}

// read returns a chart folder's files in the order of their names, with no times: an
// embedded chart is the same at every start.
func read(folder fs.FS) ([]*archive.BufferedFile, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: name, ModTime: time.Time{}, Data: data})
		return nil
	})
	return files, err
}
