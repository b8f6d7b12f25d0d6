// Package source gets charts: from a HelmChart itself, from the node's own folders, from
// chart repositories, URLs and OCI registries.
//
// Nothing is written to a disk and no connection is kept: a chart is read into memory,
// bounded in size, and is the caller's alone. Helm's environment variables, its caches and
// its plugins play no part. Proxies are those of the process's environment.
package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

const (
	// maxArchive bounds a chart's archive, in bytes. Helm keeps the chart in a Secret, which
	// cannot hold more than 1 MiB of it; archives with a large README may be bigger.
	maxArchive = 20 << 20
	// stable is where charts named stable/NAME came from before there were many
	// repositories; k3s still knows it.
	stable = "https://charts.helm.sh/stable"
)

// Request is where a chart is and how to ask for it: a HelmChart's fields, of which
// references to Secrets and ConfigMaps are resolved. Credentials are in no error.
type Request struct {
	Chart   string // a name in Repo, a URL of an archive, or an oci:// reference
	Version string // exact or a range; empty: the latest that is no prerelease
	Repo    string // URL of a chart repository
	Content string // an archive in base64; wins over all of the above

	Username, Password    string
	ClientCert, ClientKey []byte // PEM
	PassCredentials       bool   // to hosts other than the repository's too
	CA                    []byte // PEM, besides the system's
	Insecure              bool   // no check of certificates
	PlainHTTP             bool   // for OCI registries
	DockerConfig          []byte // .dockerconfigjson, for OCI registries
}

// Fetcher gets charts. The zero value knows only charts that come over the network or
// with the request. It is safe for concurrent use.
type Fetcher struct {
	// Static is the folder that k3s serves below /static/; empty: none. User's archives
	// are in charts/.
	Static string
	// Packaged has a folder per chart that comes with the node, with its Chart.yaml.
	Packaged fs.FS
}

// String names the chart's place for people.
func (r Request) String() string {
	switch {
	case r.Content != "":
		return "spec.chartContent"
	case r.Repo != "" && !strings.Contains(r.Chart, "://"):
		return fmt.Sprintf("chart %s%s of repository %s", r.Chart, r.version(), redact(r.Repo))
	case strings.HasPrefix(r.Chart, ociScheme):
		return fmt.Sprintf("chart %s%s", r.Chart, r.version())
	}
	return "chart " + redact(r.Chart)
}

func (r Request) version() string {
	if r.Version == "" {
		return " (latest)"
	}
	return " " + r.Version
}

// Fetch returns the chart with its subcharts. What can be said of an error is said: where
// the chart was looked for, what was there, and what was expected.
func (f *Fetcher) Fetch(ctx context.Context, r Request) (*chart.Chart, error) {
	c, err := f.fetch(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	switch c.Metadata.Type {
	case "", "application":
		return c, nil
	}
	return nil, fmt.Errorf("%s: it is a chart of type %s, expected one of type application", r, c.Metadata.Type)
}

func (f *Fetcher) fetch(ctx context.Context, r Request) (*chart.Chart, error) {
	switch {
	case r.Content != "":
		return inline(r.Content)
	case r.Chart == "":
		return nil, errors.New("neither spec.chart nor spec.chartContent is set")
	}
	if name, ok := static(r.Chart); ok {
		return f.local(name)
	}
	t, err := r.transport()
	if err != nil {
		return nil, err
	}
	defer t.close()
	switch {
	case strings.HasPrefix(r.Chart, ociScheme):
		return t.oci(ctx, r)
	case strings.HasPrefix(r.Chart, "https://"), strings.HasPrefix(r.Chart, "http://"):
		return t.archive(ctx, r.Chart)
	case strings.Contains(r.Chart, "://"):
		return nil, errors.New("unknown kind of URL, expected https://, http:// or oci://")
	case strings.HasPrefix(r.Repo, ociScheme):
		return nil, fmt.Errorf("an OCI registry is no chart repository: leave spec.repo empty and set spec.chart to %s/%s", strings.TrimSuffix(r.Repo, "/"), r.Chart)
	case r.Repo != "":
		return t.repository(ctx, r.Repo, r.Chart, r.Version)
	case strings.HasPrefix(r.Chart, "stable/"):
		return t.repository(ctx, stable, strings.TrimPrefix(r.Chart, "stable/"), r.Version)
	}
	return nil, errors.New("spec.repo is empty: expected the URL of a chart repository there, or a URL or oci:// reference in spec.chart")
}

// inline decodes spec.chartContent.
func inline(text string) (*chart.Chart, error) {
	c, err := load(base64.NewDecoder(base64.StdEncoding, strings.NewReader(strings.TrimSpace(text))))
	if err != nil {
		return nil, fmt.Errorf("expected a chart's archive (.tgz) in base64: %w", err)
	}
	return c, nil
}

// load reads an archive.
func load(r io.Reader) (*chart.Chart, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxArchive+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxArchive {
		return nil, fmt.Errorf("the archive is larger than %d bytes", maxArchive)
	}
	c, err := loader.LoadArchive(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("chart archive of %d bytes: %w", len(raw), err)
	}
	trim(c)
	return c, nil
}

// trim drops a second copy of every file, which only helm's show command reads.
func trim(c *chart.Chart) {
	c.Raw = nil
	for _, d := range c.Dependencies() {
		trim(d)
	}
}

// redact is a URL without its password.
func redact(s string) string {
	if _, ok := static(s); ok {
		return s // not a URL yet
	}
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "(a broken URL)"
}
