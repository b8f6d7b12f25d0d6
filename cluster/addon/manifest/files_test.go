package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDecodePutsDefinitionsAndNamespacesFirst(t *testing.T) {
	objects, err := decode([]byte(`# a comment alone is no object
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: shop}
- apiVersion: apiextensions.k8s.io/v1
  kind: CustomResourceDefinition
  metadata: {name: things.example.org}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, o.GetKind()+"/"+o.GetName())
	}
	want := []string{"CustomResourceDefinition/things.example.org", "Namespace/shop", "ConfigMap/one"}
	if !slices.Equal(got, want) {
		t.Errorf("decode = %v, want %v", got, want)
	}
}

func TestDecodeRefusesWhatIsNoObject(t *testing.T) {
	for name, text := range map[string]string{
		"no kind":                    "apiVersion: v1\nmetadata: {name: x}\n",
		"no name":                    "apiVersion: v1\nkind: ConfigMap\n",
		"a list":                     "- 1\n- 2\n",
		"bad yaml":                   "a: [\n",
		"a number for an annotation": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {a: 1}}\n",
	} {
		if objects, err := decode([]byte(text)); err == nil {
			t.Errorf("%s: decode = %v, want an error", name, objects)
		}
	}
}

func TestScanTakesSubfoldersAndHonoursSkip(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yml", "sub/c.json", "d.txt", "e.yaml", "e.yaml.skip", ".hidden.yaml", "F.YAML"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "g.yaml"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{filepath.Join(dir, "linked"), filepath.Join(other, "circle")} {
		if err := os.Symlink(other, link); err != nil {
			t.Fatal(err)
		}
	}
	found, err := scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for path, f := range found {
		name := display(dir, path)
		if f.skipped {
			name += " skipped"
		}
		if f.linked {
			name += " linked"
		}
		got = append(got, name)
	}
	slices.Sort(got)
	if want := []string{"F.YAML", "a.yaml", "b.yml", "e.yaml skipped", "linked/g.yaml linked", "sub/c.json"}; !slices.Equal(got, want) {
		t.Errorf("scan = %v, want %v", got, want)
	}
	if found, err := scan(filepath.Join(dir, "none")); err != nil || len(found) != 0 {
		t.Errorf("scan of a missing folder = %v, %v, want nothing", found, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n{}\n"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"kind":"x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		objects, err := decode(text)
		for _, o := range objects {
			if err == nil && (o.GetKind() == "" || o.GetName() == "") {
				t.Errorf("decode(%q) let an object without kind or name pass", text)
			}
		}
	})
}
