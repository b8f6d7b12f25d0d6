package overlays

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/keelson-os/keelson/tests/reftool"
)

var update = flag.Bool("update", false, "write charts/traefik-crd anew from Traefik's module")

// crdsHead stands before the generated definitions.
const crdsHead = `# Made by "go test ./overlays -run TraefikCRDs -update" from the definitions in Traefik's module
# (github.com/traefik/traefik/v3, docs/content/reference/dynamic-configuration; MIT, see ../LICENSE),
# which controller-gen made from its Go types.
# Without their descriptions: the API server would keep them in memory.
# The policy keeps IngressRoutes and all the others when Traefik is taken away.
`

// TestTraefikCRDsAreThoseOfTheModule compares the chart traefik-crd with the module that
// imagebuilder/traefik pins.
func TestTraefikCRDsAreThoseOfTheModule(t *testing.T) {
	cmd := exec.Command("go", "mod", "download", "-json", "github.com/traefik/traefik/v3")
	cmd.Dir = filepath.Join("..", "imagebuilder", "traefik")
	out, err := cmd.Output()
	var module struct{ Dir string }
	if err := errors.Join(err, json.Unmarshal(out, &module)); err != nil {
		reftool.Missing(t, fmt.Errorf("no sources of Traefik: go mod download in imagebuilder/traefik: %w", err))
	}
	files, err := filepath.Glob(filepath.Join(module.Dir, "docs", "content", "reference", "dynamic-configuration", "traefik.io_*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("the module has the definitions %v (%v), want 10 or more", files, err)
	}
	want := bytes.NewBufferString(crdsHead)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		crd["metadata"].(map[string]any)["annotations"].(map[string]any)["helm.sh/resource-policy"] = "keep"
		withoutDescriptions(crd, false)
		short, err := yaml.Marshal(crd)
		if err != nil {
			t.Fatal(err)
		}
		want.WriteString("---\n")
		want.Write(short)
	}
	const file = "charts/traefik-crd/templates/crds.yaml"
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what Traefik's module has: run go test ./overlays -run TraefikCRDs -update", file)
	}
	if bytes.Contains(got, []byte("{{")) {
		t.Errorf("%s has a template's braces: Helm would run them", file)
	}
}

// withoutDescriptions removes the descriptions of a schema. Below "properties" the keys are
// names, and a property may be called description.
func withoutDescriptions(v any, names bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if _, text := v[key].(string); text && key == "description" && !names {
				delete(v, key)
				continue
			}
			withoutDescriptions(v[key], key == "properties" && !names)
		}
	case []any:
		for _, e := range v {
			withoutDescriptions(e, false)
		}
	}
}
