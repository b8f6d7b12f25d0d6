package source

import (
	"slices"

	"github.com/Masterminds/semver/v3"
)

// helmVersion says whether version is one version and not a range or empty.
func helmVersion(version string) bool {
	_, err := semver.NewVersion(version)
	return err == nil
}

// sorted returns those tags that are versions, the highest first.
func sorted(tags []string) []string {
	var versions []*semver.Version
	for _, tag := range tags {
		if v, err := semver.StrictNewVersion(tag); err == nil {
			versions = append(versions, v)
		}
	}
	slices.SortFunc(versions, func(a, b *semver.Version) int { return b.Compare(a) })
	names := make([]string, len(versions))
	for i, v := range versions {
		names[i] = v.Original()
	}
	return names
}
