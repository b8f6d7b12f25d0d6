package kmod

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/boards"
)

// ErrUnknown says that a kernel has no such module.
var ErrUnknown = errors.New("no such module")

// IsName says whether what a user asks for is a module's name ("i2c-dev"), not a path or pattern
// as selections have them ("drivers/net/wireguard", "fs/nls/nls_*").
func IsName(want string) bool { return !strings.ContainsAny(want, `/*?[\`) }

// Find returns the paths of the modules that wants name, sorted, with everything that they depend on. Each is
// a name, in which "-" and "_" are the same, or a pattern. Names that are built into the kernel give nothing.
// Errors wrap ErrUnknown, one for each that is not there, with the nearest that are.
func (t *Tree) Find(wants []string) ([]string, error) {
	chosen := map[string]bool{}
	var errs []error
	for _, want := range wants {
		if !IsName(want) {
			errs = append(errs, t.findPattern(want, chosen))
			continue
		}
		name := strings.ReplaceAll(want, "-", "_")
		switch module, ok := t.byName[name]; {
		case ok:
			chosen[module] = true
		case !t.builtin[name]:
			names := slices.Concat(slices.Collect(maps.Keys(t.byName)), slices.Collect(maps.Keys(t.builtin)))
			hint := near(name, names)
			if hint == "" {
				hint = "; a folder or a pattern of modules has a slash, as in drivers/net/wireguard or fs/nls/*"
			}
			errs = append(errs, fmt.Errorf("%w in kernel %s: %s%s", ErrUnknown, t.Version, want, hint))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.close(chosen)
	return slices.Sorted(maps.Keys(chosen)), nil
}

// findPattern adds the modules that a pattern matches to chosen.
func (t *Tree) findPattern(pattern string, chosen map[string]bool) error {
	ps := compile([]string{pattern})
	used := map[string]bool{}
	places := map[string]bool{}
	for m := range t.deps {
		k := key(m)
		if ps.match(k, used) {
			chosen[m] = true
		}
		for ; k != "."; k = path.Dir(k) {
			places[k] = true
		}
	}
	if used[pattern] {
		return nil
	}
	return fmt.Errorf("%w in kernel %s: nothing matches %s%s", ErrUnknown, t.Version, pattern, near(pattern, slices.Collect(maps.Keys(places))))
}

// maxNear is how many names an error offers.
const maxNear = 5

// near returns "; did you mean …?" with the names that have word in them or the one that is like it.
func near(word string, names []string) string {
	slices.Sort(names)
	var found []string
	if n := boards.Nearest(word, names); n != "" {
		found = append(found, n)
	}
	for _, n := range names {
		if len(word) > 1 && len(found) < maxNear && strings.Contains(n, word) && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(found, ", ") + "?"
}
