package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	helmregistry "helm.sh/helm/v4/pkg/registry"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

const (
	ociScheme = helmregistry.OCIScheme + "://"
	// maxTags bounds how many tags of a repository are looked at for a version.
	maxTags = 20000
)

// oci pulls a chart from an OCI registry.
func (t *transport) oci(ctx context.Context, r Request) (*chart.Chart, error) {
	ref, err := reference(strings.TrimPrefix(r.Chart, ociScheme))
	if err != nil {
		return nil, fmt.Errorf("expected oci://HOST/NAME: %w", err)
	}
	client := &auth.Client{Client: t.client, Header: http.Header{"User-Agent": []string{userAgent}}}
	if client.Credential, err = t.credential(); err != nil {
		return nil, err
	}
	repository := &remote.Repository{Client: client, Reference: ref, PlainHTTP: r.PlainHTTP}
	if ref.Reference, err = t.tag(ctx, repository, ref.Reference, r.Version); err != nil {
		return nil, err
	}
	described, body, err := repository.Manifests().FetchReference(ctx, ref.Reference)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	defer body.Close()
	if described.Size > maxEntry {
		return nil, fmt.Errorf("manifest of %s: %d bytes, expected at most %d", ref, described.Size, maxEntry)
	}
	raw, err := content.ReadAll(body, described) // checks size and digest
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	layer, err := chartLayer(manifest)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", ref, err)
	}
	blob, err := repository.Blobs().Fetch(ctx, layer)
	if err != nil {
		return nil, fmt.Errorf("chart of %s: %w", ref, err)
	}
	defer blob.Close()
	verified := content.NewVerifyReader(blob, layer)
	c, err := load(verified)
	if err != nil {
		return nil, fmt.Errorf("chart of %s: %w", ref, err)
	}
	if err := verified.Verify(); err != nil {
		return nil, fmt.Errorf("chart of %s: %w", ref, err)
	}
	return c, nil
}

// reference parses HOST/NAME[:TAG][@DIGEST]. A tag's plus is written as an underscore in a
// registry, by helm's convention.
func reference(s string) (registry.Reference, error) {
	name, digest, hasDigest := strings.Cut(s, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i] + strings.ReplaceAll(name[i:], "+", "_")
		if hasDigest {
			name = name[:i] // the digest decides
		}
	}
	if hasDigest {
		name += "@" + digest
	}
	return registry.ParseReference(name)
}

// tag chooses the version: that of the reference, the exact one, or the highest in the range.
func (t *transport) tag(ctx context.Context, repository *remote.Repository, given, version string) (string, error) {
	if given != "" {
		if version != "" && !strings.HasPrefix(given, "sha256:") && given != underscore(version) {
			return "", fmt.Errorf("spec.chart names version %s, spec.version %s: expected one of them", given, version)
		}
		return given, nil
	}
	if helmVersion(version) {
		return underscore(version), nil
	}
	tags, err := tags(ctx, repository)
	if err != nil {
		return "", fmt.Errorf("list of versions: %w", err)
	}
	found, err := helmregistry.GetTagMatchingVersionOrConstraint(tags, version)
	if err != nil {
		return "", fmt.Errorf("none of the registry's %d versions matches %q: %w", len(tags), version, err)
	}
	return underscore(found), nil
}

func underscore(version string) string { return strings.ReplaceAll(version, "+", "_") }

var errEnough = errors.New("enough")

func tags(ctx context.Context, repository *remote.Repository) ([]string, error) {
	var all []string
	err := repository.Tags(ctx, "", func(page []string) error {
		for _, tag := range page {
			all = append(all, strings.ReplaceAll(tag, "_", "+"))
		}
		if len(all) > maxTags {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return sorted(all), nil
}

// chartLayer finds the archive among a manifest's layers.
func chartLayer(m ocispec.Manifest) (ocispec.Descriptor, error) {
	if m.Config.MediaType != helmregistry.ConfigMediaType {
		return ocispec.Descriptor{}, fmt.Errorf("it is no helm chart: its configuration has media type %q, expected %q", m.Config.MediaType, helmregistry.ConfigMediaType)
	}
	for _, l := range m.Layers {
		if l.MediaType != helmregistry.ChartLayerMediaType && l.MediaType != helmregistry.LegacyChartLayerMediaType {
			continue
		}
		if l.Size > maxArchive {
			return l, fmt.Errorf("the archive is larger than %d bytes", maxArchive)
		}
		return l, nil
	}
	return ocispec.Descriptor{}, fmt.Errorf("found no layer of media type %s", helmregistry.ChartLayerMediaType)
}

// credential looks into the Docker configuration, then at the basic credentials.
func (t *transport) credential() (auth.CredentialFunc, error) {
	if len(t.r.DockerConfig) > 0 {
		store, err := credentials.NewMemoryStoreFromDockerConfig(t.r.DockerConfig)
		if err != nil {
			return nil, errors.New("spec.dockerRegistrySecret: key .dockerconfigjson: expected a Docker configuration with auths")
		}
		return credentials.Credential(store), nil
	}
	if t.r.Username == "" || t.r.Password == "" {
		return nil, nil
	}
	return auth.StaticCredential(t.origin.Host, auth.Credential{Username: t.r.Username, Password: t.r.Password}), nil
}
