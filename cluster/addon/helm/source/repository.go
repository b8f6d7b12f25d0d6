package source

import (
	"context"
	"errors"
	"fmt"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/repo/v1"
)

// repository finds a version of a chart in a repository's index and gets it.
func (t *transport) repository(ctx context.Context, repository, name, version string) (*chart.Chart, error) {
	address, err := repo.ResolveReferenceURL(repository, "index.yaml")
	if err != nil {
		return nil, err
	}
	body, err := t.get(ctx, address)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	versions, err := index(body, name)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", redact(address), err)
	}
	found, err := pick(versions, name, version)
	if err != nil {
		return nil, fmt.Errorf("index of the repository: %w", err)
	}
	place, err := repo.ResolveReferenceURL(repository, found.URLs[0])
	if err != nil {
		return nil, err
	}
	return t.archive(ctx, place)
}

// pick chooses as helm does: the exact version, else the highest that is in the range.
func pick(versions repo.ChartVersions, name, version string) (*repo.ChartVersion, error) {
	if len(versions) == 0 {
		return nil, fmt.Errorf("it has no chart %q", name)
	}
	file := repo.IndexFile{Entries: map[string]repo.ChartVersions{name: versions}}
	file.SortEntries()
	found, err := file.Get(name, version)
	if err != nil {
		return nil, fmt.Errorf("no version of chart %s matches %q, the newest of %d is %s: %w", name, version, len(versions), versions[0].Version, err)
	}
	if len(found.URLs) == 0 || found.URLs[0] == "" {
		return nil, errors.New("version " + found.Version + " has no URL")
	}
	return found, nil
}
