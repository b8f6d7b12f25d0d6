package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/keelson-os/keelson/cluster/addon/helm/release"
	"github.com/keelson-os/keelson/cluster/addon/helm/source"
	"github.com/keelson-os/keelson/cluster/addon/helm/values"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// inputs is all that a release is made from, but the chart itself.
type inputs struct {
	target  release.Target
	files   []values.File
	secrets []string // whose changes matter
	seen    map[string]bool
}

// collect reads what a HelmChart and its HelmChartConfig refer to. digest is that of a
// chart on the node's disk. inputs.secrets is set even with an error: what is missing may
// appear.
func (c *controller) collect(ctx context.Context, chart *helmChart, config *helmChartConfig, digest string) (inputs, error) {
	s := chart.Spec
	timeout, err := chart.timeout()
	if err != nil {
		return inputs{}, err
	}
	in := inputs{
		target: release.Target{
			Name: chart.Name, Namespace: chart.target(), Driver: s.Driver, Policy: release.Policy(s.FailurePolicy),
			CreateNamespace: s.CreateNamespace, TakeOwnership: s.TakeOwnership,
			ServerSide: s.ServerSide, ForceConflicts: s.ForceConflicts, Timeout: timeout,
		},
		seen: map[string]bool{identity(chartsResource().Resource, chart): true},
	}
	parts := []valuesPart{{"HelmChart", s.Values, s.ValuesContent, s.ValuesSecrets}}
	if config != nil {
		parts = append(parts, valuesPart{"HelmChartConfig", config.Spec.Values, config.Spec.ValuesContent, config.Spec.ValuesSecrets})
		if config.Spec.FailurePolicy != "" {
			in.target.Policy = release.Policy(config.Spec.FailurePolicy)
		}
		if config.Spec.ServerSide != "" {
			in.target.ServerSide = config.Spec.ServerSide
		}
		if config.Spec.ForceConflicts != nil {
			in.target.ForceConflicts = *config.Spec.ForceConflicts
		}
		in.seen[identity(configsResource().Resource, config)] = true
	}
	for _, p := range parts {
		for _, v := range p.secrets {
			if !v.IgnoreUpdates && len(v.Keys) > 0 {
				in.secrets = append(in.secrets, v.Name)
			}
		}
	}
	var watched []values.File
	for _, p := range parts {
		files, fixed, err := c.files(ctx, chart, p, in.seen)
		if err != nil {
			return in, err
		}
		in.files = append(in.files, files...)
		watched = append(watched, fixed...)
	}
	// How to fetch, how long to wait and what to do after a failure is no reason for an upgrade.
	text, err := json.Marshal(struct {
		Chart, Version, Repo, Content, Digest, Namespace, Driver, ServerSide string
		TakeOwnership, ForceConflicts                                        bool
		Set                                                                  map[string]intstr.IntOrString
		Files                                                                []values.File
	}{
		s.Chart, s.Version, s.Repo, s.ChartContent, digest, in.target.Namespace, s.Driver, in.target.ServerSide,
		s.TakeOwnership, in.target.ForceConflicts, s.Set, watched,
	})
	if err != nil {
		return in, err
	}
	sum := sha256.Sum256(text)
	in.target.Hash = hex.EncodeToString(sum[:])[:hashLength]
	return in, nil
}

// hashLength is in hexadecimal digits: a label's value has at most 63 characters.
const hashLength = 63

// valuesPart is what HelmChart and HelmChartConfig both have.
type valuesPart struct {
	kind    string
	values  json.RawMessage
	content string
	secrets []valuesSecret
}

// files returns a part's values, the weakest first, and those of them whose change is a
// reason for an upgrade. It notes the Secrets in seen.
func (c *controller) files(ctx context.Context, chart *helmChart, p valuesPart, seen map[string]bool) (all, watched []values.File, err error) {
	if p.content != "" {
		all = append(all, values.File{Name: p.kind + " spec.valuesContent", Text: []byte(p.content)})
	}
	if len(p.values) > 0 && !bytes.Equal(p.values, []byte("null")) {
		all = append(all, values.File{Name: p.kind + " spec.values", Text: p.values})
	}
	watched = slices.Clone(all)
	for _, v := range p.secrets {
		// Not the Secret that k3s itself makes of a HelmChart's values: it would feed itself.
		if len(v.Keys) == 0 || v.Name == "chart-values-"+chart.Name {
			continue
		}
		secret, err := c.secret(ctx, chart.Namespace, v.Name, p.kind+" spec.valuesSecrets")
		if err != nil {
			if v.IgnoreUpdates && apierrors.IsNotFound(err) {
				continue
			}
			return nil, nil, err
		}
		seen[identity("secrets", secret)] = true
		for _, key := range v.Keys {
			text, ok := secret.Data[key]
			if !ok {
				if v.IgnoreUpdates {
					continue
				}
				return nil, nil, fmt.Errorf("%s spec.valuesSecrets: Secret %s has no key %q, only %q", p.kind, v.Name, key, slices.Sorted(maps.Keys(secret.Data)))
			}
			file := values.File{Name: fmt.Sprintf("%s spec.valuesSecrets: Secret %s key %s", p.kind, v.Name, key), Text: text}
			all = append(all, file)
			if !v.IgnoreUpdates {
				watched = append(watched, file)
			}
		}
	}
	return all, watched, nil
}

// secret reads a Secret that a field names.
func (c *controller) secret(ctx context.Context, namespace, name, field string) (*corev1.Secret, error) {
	if name == "" {
		return nil, fmt.Errorf("%s: the Secret's name is empty", field)
	}
	s, err := c.objects.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("%s: Secret %s in namespace %s: %w", field, name, namespace, err)
	}
	return s, nil
}

// request resolves what a HelmChart says of its chart's place.
func (c *controller) request(ctx context.Context, chart *helmChart) (source.Request, error) {
	s := chart.Spec
	r := source.Request{
		Chart: s.Chart, Version: s.Version, Repo: s.Repo, Content: s.ChartContent,
		PassCredentials: s.AuthPassCredentials, CA: []byte(s.RepoCA), Insecure: s.InsecureSkipTLSVerify, PlainHTTP: s.PlainHTTP,
	}
	if r.Content != "" {
		return r, nil
	}
	if s.AuthSecret != nil {
		secret, err := c.secret(ctx, chart.Namespace, s.AuthSecret.Name, "spec.authSecret")
		if err != nil {
			return r, err
		}
		r.Username, r.Password = string(secret.Data[corev1.BasicAuthUsernameKey]), string(secret.Data[corev1.BasicAuthPasswordKey])
		r.ClientCert, r.ClientKey = secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
		if (r.Username == "" || r.Password == "") && len(r.ClientCert) == 0 {
			return r, fmt.Errorf("spec.authSecret: Secret %s: expected the keys username and password, or tls.crt and tls.key", s.AuthSecret.Name)
		}
	}
	if s.DockerRegistrySecret != nil {
		secret, err := c.secret(ctx, chart.Namespace, s.DockerRegistrySecret.Name, "spec.dockerRegistrySecret")
		if err != nil {
			return r, err
		}
		r.DockerConfig = secret.Data[corev1.DockerConfigJsonKey]
		if len(r.DockerConfig) == 0 {
			return r, fmt.Errorf("spec.dockerRegistrySecret: Secret %s: expected the key %s", s.DockerRegistrySecret.Name, corev1.DockerConfigJsonKey)
		}
	}
	if s.RepoCAConfigMap != nil {
		cm, err := c.objects.CoreV1().ConfigMaps(chart.Namespace).Get(ctx, s.RepoCAConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return r, fmt.Errorf("spec.repoCAConfigMap: ConfigMap %s in namespace %s: %w", s.RepoCAConfigMap.Name, chart.Namespace, err)
		}
		for _, key := range slices.Sorted(maps.Keys(cm.Data)) {
			r.CA = append(append(r.CA, '\n'), cm.Data[key]...)
		}
		for _, key := range slices.Sorted(maps.Keys(cm.BinaryData)) {
			r.CA = append(append(r.CA, '\n'), cm.BinaryData[key]...)
		}
	}
	return r, nil
}

func keyOf(chart *helmChart) types.NamespacedName {
	return types.NamespacedName{Namespace: chart.Namespace, Name: chart.Name}
}
