// Package flags turns a component's settings into its command line flags.
//
// Upstream's components take their settings as flags, and k3s lets users add to them
// (kubelet-arg: "max-pods=50"). Going through flags keeps one meaning for both, and the
// component's own parsing and validation.
package flags

import (
	"fmt"
	"slices"
	"strings"
)

// List is a component's flags in order, without leading dashes: "name=value" or "name".
type List []string

// Add returns the list with the user's flags after ours, so that the user's win. A flag
// given by the user replaces ours of the same name altogether, because list-valued flags
// would otherwise add to it. Flags may be written with or without dashes.
func (l List) Add(user []string) List {
	given := make(map[string]bool)
	var add List
	for _, u := range user {
		u = strings.TrimLeft(u, "-")
		given[Name(u)] = true
		add = append(add, u)
	}
	out := slices.DeleteFunc(slices.Clone(l), func(f string) bool { return given[Name(f)] })
	return append(out, add...)
}

// Args is the list as a command line.
func (l List) Args() []string {
	out := make([]string, 0, len(l))
	for _, f := range l {
		out = append(out, "--"+f)
	}
	return out
}

// Name is the part of a flag before "=", without leading dashes.
func Name(flag string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	return name
}

// TakeFeatureGates removes feature-gates flags from a user's list and adds their gates
// to the map. All components share one registry of gates in this process, so that a
// gate set for one of them is set for all; two different values are an error.
func TakeFeatureGates(user []string, gates map[string]bool) ([]string, error) {
	var rest []string
	for _, u := range user {
		if Name(u) != "feature-gates" {
			rest = append(rest, u)
			continue
		}
		_, value, _ := strings.Cut(u, "=")
		for pair := range strings.SplitSeq(value, ",") {
			if pair = strings.TrimSpace(pair); pair == "" {
				continue
			}
			name, text, _ := strings.Cut(pair, "=")
			var on bool
			switch strings.ToLower(text) {
			case "true":
				on = true
			case "false":
			default:
				return nil, fmt.Errorf("feature-gates: %q: want <gate>=true or <gate>=false", pair)
			}
			if old, ok := gates[name]; ok && old != on {
				return nil, fmt.Errorf("feature-gates: %s is %t for one component and %t for another; they share one process: give it one value", name, old, on)
			}
			gates[name] = on
		}
	}
	return rest, nil
}
