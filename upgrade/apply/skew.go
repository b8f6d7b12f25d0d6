package apply

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSkew says that the bundle's Kubernetes may not follow the one that runs.
var ErrSkew = errors.New("version skew of Kubernetes")

// minor is the part of a Kubernetes version that skew counts by.
type minor struct{ major, minor int }

func parseMinor(version string) (minor, error) {
	rest, ok := strings.CutPrefix(version, "v")
	parts := strings.SplitN(rest, ".", 3)
	if !ok || len(parts) != 3 {
		return minor{}, fmt.Errorf("version %q of Kubernetes: want vMAJOR.MINOR.PATCH", version)
	}
	var m minor
	for i, to := range []*int{&m.major, &m.minor} {
		n, err := strconv.ParseUint(parts[i], 10, 31)
		if err != nil {
			return minor{}, fmt.Errorf("version %q of Kubernetes: %w", version, err)
		}
		*to = int(n)
	}
	return m, nil
}

// checkSkew says whether a node with Kubernetes from may become one with to. Errors: ErrSkew.
// Source: Kubernetes, "Version Skew Policy", "kube-apiserver" and "Supported component upgrade order".
func checkSkew(from, to string) error {
	f, err := parseMinor(from)
	if err != nil {
		return fmt.Errorf("of the running system: %w", err)
	}
	t, err := parseMinor(to)
	if err != nil {
		return fmt.Errorf("of the bundle: %w", err)
	}
	switch {
	case f.major != t.major:
		return fmt.Errorf("%w: %s runs, the bundle has %s: there is no rule for another major version", ErrSkew, from, to)
	case t.minor > f.minor+1:
		return fmt.Errorf("%w: %s runs, the bundle has %s: the rule is one minor version at a time; upgrade to a bundle with v%d.%d first",
			ErrSkew, from, to, f.major, f.minor+1)
	case t.minor < f.minor:
		return fmt.Errorf("%w: %s runs, the bundle has %s: the rule is never back to an older minor version, which may not be able to read what the newer one has stored; "+
			"take a bundle with v%d.%d or v%d.%d", ErrSkew, from, to, f.major, f.minor, f.major, f.minor+1)
	}
	return nil
}
