package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

func TestParseTakesWhatUpstreamTakes(t *testing.T) {
	for _, c := range []struct {
		name, text, class, node, wanted, want string
		ignored                               int
	}{
		{"the packaged one", `{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/var/lib/rancher/k3s/storage"]}]}`, "c", "n", "", "/var/lib/rancher/k3s/storage", 0},
		{"a node of its own", `{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/d"]},{"node":"n","paths":["/n/"]}]}`, "c", "n", "", "/n", 0},
		{"another node's entry", `{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["/d"]},{"node":"m","paths":["/m"]}]}`, "c", "n", "", "/d", 0},
		{"the class's path", `{"nodePathMap":[{"node":"n","paths":["/a","/b","/c"]}]}`, "c", "n", "/b/", "/b", 0},
		{"a shared file system", `{"sharedFileSystemPath":"/nfs//x","nodePathMap":[]}`, "c", "n", "", "/nfs/x", 0},
		{"a class's scope", `{"storageClassConfigs":{"c":{"sharedFileSystemPath":"/c"},"d":{"nodePathMap":[{"node":"n","paths":["/d"]}]}}}`, "d", "n", "", "/d", 0},
		{"what cannot be done", `{"setupCommand":"/s","teardownCommand":"/t","cmdTimeoutSeconds":9,"colour":1,"sharedFileSystemPath":"/c"}`, "c", "n", "", "/c", 3},
		{"paths beside classes", `{"nodePathMap":[{"node":"n","paths":["/a"]}],"storageClassConfigs":{"c":{"sharedFileSystemPath":"/c"}}}`, "c", "n", "", "/c", 1},
	} {
		s, ignored, err := parse(c.text)
		if err != nil || len(ignored) != c.ignored {
			t.Errorf("%s: parse = %q, %v, want %d ignored", c.name, ignored, err, c.ignored)
			continue
		}
		scope, err := s.of(c.class)
		if err != nil {
			t.Errorf("%s: of = %v", c.name, err)
			continue
		}
		if got, err := scope.base(c.node, c.wanted, "pvc-1"); got != c.want || err != nil {
			t.Errorf("%s: base = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":           `paths: [/a]`,
		"a list":            `[]`,
		"two values":        `{"sharedFileSystemPath":"/a"}{}`,
		"nothing":           `{}`,
		"an empty map":      `{"nodePathMap":[]}`,
		"both":              `{"sharedFileSystemPath":"/a","nodePathMap":[{"node":"n","paths":["/a"]}]}`,
		"a relative path":   `{"nodePathMap":[{"node":"n","paths":["a"]}]}`,
		"an empty path":     `{"nodePathMap":[{"node":"n","paths":[""]}]}`,
		"the root":          `{"nodePathMap":[{"node":"n","paths":["/a/.."]}]}`,
		"a NUL":             `{"nodePathMap":[{"node":"n","paths":["/a\u0000"]}]}`,
		"a path twice":      `{"nodePathMap":[{"node":"n","paths":["/a","/a/"]}]}`,
		"a node twice":      `{"nodePathMap":[{"node":"n","paths":["/a"]},{"node":"n","paths":["/b"]}]}`,
		"a bad shared path": `{"sharedFileSystemPath":"/"}`,
		"a bad class":       `{"storageClassConfigs":{"c":{}}}`,
	} {
		if s, _, err := parse(text); err == nil {
			t.Errorf("%s: parse = %+v, want an error", name, s)
		}
	}
}

func TestBaseRefusesNodeWithoutPaths(t *testing.T) {
	listed := scope{nodes: map[string][]string{"n": {}, "m": {"/m"}}}
	for name, try := range map[string]func() (string, error){
		"listed without paths": func() (string, error) { return listed.base("n", "", "v") },
		"not listed":           func() (string, error) { return listed.base("x", "", "v") },
		"class's path unknown": func() (string, error) { return listed.base("m", "/x", "v") },
		"class unknown": func() (string, error) {
			_, err := settings{classes: map[string]scope{"c": listed}}.of("d")
			return "", err
		},
	} {
		if got, err := try(); !errors.As(err, new(refusal)) {
			t.Errorf("%s: got %q, %v, want a refusal", name, got, err)
		}
	}
}

func TestBaseSpreadsVolumesAndStaysForOne(t *testing.T) {
	s := scope{nodes: map[string][]string{"n": {"/a", "/b", "/c"}}}
	count := map[string]int{}
	for i := range 300 {
		volume := fmt.Sprintf("pvc-%d", i)
		first, err := s.base("n", "", volume)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := s.base("n", "", volume); again != first {
			t.Fatalf("base(%s) = %s, then %s", volume, first, again)
		}
		count[first]++
	}
	for _, p := range s.nodes["n"] {
		if count[p] < 50 {
			t.Errorf("of 300 volumes %d are in %s, want about 100: %v", count[p], p, count)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"nodePathMap":[{"node":"n","paths":["/a","/b"]}]}`)
	f.Add(`{"storageClassConfigs":{"c":{"sharedFileSystemPath":"/c"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := parse(text)
		if err != nil {
			return
		}
		bases := s.bases()
		if !slices.IsSorted(bases) {
			t.Errorf("bases = %q, want them sorted", bases)
		}
		for _, b := range bases {
			if !filepath.IsAbs(b) || filepath.Clean(b) != b || b == "/" {
				t.Errorf("base %q is not an absolute clean path below the root", b)
			}
		}
	})
}
