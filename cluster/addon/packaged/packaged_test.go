package packaged

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/keelson-os/keelson/overlays"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// values are those that the node has.
var values = map[string]string{
	"CLUSTER_DNS": "10.43.0.10", "CLUSTER_DOMAIN": "cluster.local",
	"DEFAULT_LOCAL_STORAGE_PATH": "/var/lib/rancher/k3s/storage", "SERVER_CA_BASE64": "Q0E=",
}

func TestEveryPackagedFileHasOnlyKnownPlaceholdersAndIsYAML(t *testing.T) {
	dir := t.TempDir()
	if err := Stage(Options{Dir: dir, Files: overlays.Manifests(), Values: values}); err != nil {
		t.Fatal(err)
	}
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(document), &content); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	})
	if err != nil || count == 0 {
		t.Errorf("%d files, %v, want some", count, err)
	}
}

func TestStageReplacesPlaceholdersAndLeavesTheHelmControllersOne(t *testing.T) {
	dir := t.TempDir()
	files := fstest.MapFS{
		"a.yaml":     {Data: []byte("dns: %{CLUSTER_DNS}%\napi: https://%{KUBERNETES_API}%/\n")},
		"sub/b.yaml": {Data: []byte("x: 100%\n")},
		"README.md":  {Data: []byte("not a manifest")},
	}
	if err := Stage(Options{Dir: dir, Files: files, Values: values}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a.yaml": "dns: 10.43.0.10\napi: https://%{KUBERNETES_API}%/\n", "sub/b.yaml": "x: 100%\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); string(got) != want {
			t.Errorf("%s = %q, %v, want %q", path, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err == nil {
		t.Error("README.md was written, want manifests only")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v, want a.yaml and sub", entries, err)
	}
}

func TestStageRefusesAnUnknownPlaceholderAndWritesTheRest(t *testing.T) {
	dir := t.TempDir()
	err := Stage(Options{Dir: dir, Values: values, Files: fstest.MapFS{
		"a.yaml": {Data: []byte("%{NO_SUCH}%")}, "b.yaml": {Data: []byte("b")},
	}})
	if err == nil {
		t.Error("Stage = nil, want an error for %{NO_SUCH}%")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.yaml")); err == nil {
		t.Error("a.yaml was written")
	}
	if _, err := os.Stat(filepath.Join(dir, "b.yaml")); err != nil {
		t.Error(err)
	}
}

func TestStageWritesOnlyWhatDiffers(t *testing.T) {
	dir := t.TempDir()
	files := fstest.MapFS{"a.yaml": {Data: []byte("a")}, "b.yaml": {Data: []byte("b")}, "off/c.yaml": {Data: []byte("c")}, "traefik.yaml": {Data: []byte("t")}}
	o := Options{Dir: dir, Files: files, Disabled: []string{"off", "helm-controller"}}
	if err := Stage(o); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1000, 0)
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "b.yaml"), []byte("changed by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Stage(o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.yaml")); err != nil || !info.ModTime().Equal(old) || info.Mode() != 0o600 {
		t.Errorf("a.yaml: %v, %v, want it untouched, mode 0600", info, err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "b.yaml")); string(got) != "b" {
		t.Errorf("b.yaml = %q, want the packaged text", got)
	}
	for _, name := range []string{"off/c.yaml", "traefik.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was written, want disabled ones left out", name)
		}
	}
}
