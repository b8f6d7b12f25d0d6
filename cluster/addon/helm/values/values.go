// Package values makes the values of a Helm release from a HelmChart's parts, as the
// command line of helm does for k3s: files in their order, then single settings.
package values

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// File is one YAML text, several documents are merged. Name is for errors: the field or
// the Secret's key that it comes from.
type File struct {
	Name string
	Text []byte
}

// Merge returns the values of files, of which later ones win, with set on top. Maps are
// merged key by key, lists are replaced. A null removes the chart's default.
//
// The keys of set are paths as for helm --set: a.b, a[0].b, a\.b for a key with a dot.
// Its values are texts, but for numbers and the words true, false and null.
// Of two keys that set the same, texts win, then the later one in alphabetical order.
func Merge(files []File, set map[string]intstr.IntOrString) (map[string]any, error) {
	merged := map[string]any{}
	for _, f := range files {
		one, err := loader.LoadValues(bytes.NewReader(f.Text))
		if err != nil {
			return nil, fmt.Errorf("%s: expected a YAML map of values: %w", f.Name, err)
		}
		merged = loader.MergeMaps(merged, one)
	}
	keys := slices.Sorted(maps.Keys(set))
	for _, text := range []bool{false, true} {
		for _, k := range keys {
			v := set[k]
			if typed(v) == text {
				continue
			}
			if err := put(merged, k, v); err != nil {
				return nil, fmt.Errorf("spec.set: key %q: %w", k, err)
			}
		}
	}
	return merged, nil
}

// put sets one key. strvals panics on some malformed paths of lists; that is this key's error.
func put(into map[string]any, key string, value intstr.IntOrString) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("expected a path such as a.b or a[0].b: %v", p)
		}
	}()
	if typed(value) {
		return strvals.ParseInto(key+"="+value.String(), into)
	}
	return strvals.ParseIntoString(key+"="+escape(value.String()), into)
}

// typed says whether a value keeps its type: what looks like a number in quotes is a text.
func typed(v intstr.IntOrString) bool {
	if v.Type == intstr.Int {
		return true
	}
	switch strings.ToLower(v.StrVal) {
	case "true", "false", "null":
		return true
	}
	return false
}

var comma = regexp.MustCompile(`\\*,`)

// escape keeps a comma from starting the next setting, if it does not have its backslash yet.
func escape(v string) string {
	return comma.ReplaceAllStringFunc(v, func(m string) string {
		if len(m)%2 == 1 { // an even number of backslashes escapes itself
			return `\` + m
		}
		return m
	})
}
