package scenario

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// helmChart makes the archive of a chart of a ConfigMap and a Deployment that serves it.
func helmChart(t *testing.T, version string) string {
	t.Helper()
	var raw bytes.Buffer
	zip := gzip.NewWriter(&raw)
	archive := tar.NewWriter(zip)
	for _, f := range []struct{ name, text string }{
		{"Chart.yaml", "apiVersion: v2\nname: greeter\nversion: " + version + "\nappVersion: \"7\"\n"},
		{"values.yaml", "greeting: hello\nreplicas: 1\n"},
		{"templates/all.yaml", `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  index.html: {{ required "greeting must not be empty" .Values.greeting | quote }}
  version: {{ .Chart.Version | quote }}
  api: {{ (lookup "v1" "Service" "default" "kubernetes").spec.clusterIP | quote }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: keelson.dev/busybox:1
        command: [httpd, -f, -p, "8080", -h, /www]
        volumeMounts: [{name: www, mountPath: /www}]
      volumes: [{name: www, configMap: {name: {{ .Release.Name }}}}]
`},
	} {
		if err := archive.WriteHeader(&tar.Header{Name: "greeter/" + f.name, Size: int64(len(f.text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw.Bytes())
}

// helmStory installs a chart that its HelmChart holds, changes a value through a
// HelmChartConfig, breaks and repairs it, installs another from a repository that a pod of
// the cluster serves, and deletes both. All that is seen is seen with kubectl.
func helmStory(t *testing.T, ctx context.Context, n *harness.Node) {
	apply := func(t *testing.T, yaml string) {
		t.Helper()
		limit, cancel := within(ctx, 2*time.Minute, "kubectl apply")
		defer cancel()
		if _, err := n.KubectlInput(limit, yaml, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	// ready waits until a HelmChart's Ready condition has a status and words in its message.
	ready := func(t *testing.T, chart, status string, words ...string) {
		t.Helper()
		eventually(t, ctx, 2*time.Minute, "HelmChart "+chart+" to be Ready="+status, func(ctx context.Context) error {
			got, err := n.Kubectl(ctx, "get", "helmchart", "-n", "helm-story", chart, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(got, status+" ") {
				return fmt.Errorf("Ready = %q, want %s", got, status)
			}
			for _, w := range words {
				if !strings.Contains(got, w) {
					return fmt.Errorf("Ready = %q, want %q in it", got, w)
				}
			}
			return nil
		})
	}
	data := func(t *testing.T, name, key string) string {
		t.Helper()
		return kubectl(t, ctx, n, "get", "configmap", "-n", "helm-target", name, "-o", "jsonpath={.data."+key+"}")
	}
	// The components start beside each other, and the definitions may be a moment late.
	eventually(t, ctx, 2*time.Minute, "the definition of HelmChart", func(ctx context.Context) error {
		_, err := n.Kubectl(ctx, "get", "helmcharts", "-A")
		return err
	})

	t.Run("chartContent", func(t *testing.T) {
		apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: helm-story}
---
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: greeter, namespace: helm-story}
spec:
  targetNamespace: helm-target
  createNamespace: true
  bootstrap: true
  jobImage: rancher/klipper-helm:v0.9.8-build20250709
  valuesContent: |-
    greeting: from the chart
  chartContent: `+helmChart(t, "1.0.0")+"\n")
		ready(t, "greeter", "True", "revision 1", "greeter-1.0.0", "namespace helm-target")
		if got := data(t, "greeter", `index\.html`); got != "from the chart" {
			t.Errorf("greeting = %q", got)
		}
		if got := data(t, "greeter", "api"); !strings.HasPrefix(got, "10.") {
			t.Errorf("lookup found the API at %q, want its ClusterIP", got)
		}
		eventually(t, ctx, 3*time.Minute, "the chart's pod", func(ctx context.Context) error {
			_, err := n.Kubectl(ctx, "rollout", "status", "-n", "helm-target", "deployment/greeter", "--timeout=10s")
			return err
		})
	})
	t.Run("HelmChartConfig", func(t *testing.T) {
		config := func(t *testing.T, content string) {
			t.Helper()
			apply(t, "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: greeter, namespace: helm-story}\nspec:\n  valuesContent: |-\n    "+content+"\n")
		}
		config(t, "greeting: from the config")
		ready(t, "greeter", "True", "revision 2")
		if got := data(t, "greeter", `index\.html`); got != "from the config" {
			t.Errorf("greeting = %q", got)
		}
		config(t, "greeting: [")
		ready(t, "greeter", "False", "HelmChartConfig spec.valuesContent", "YAML")
		config(t, `greeting: ""`)
		ready(t, "greeter", "False", "greeting must not be empty")
		if got := kubectl(t, ctx, n, "describe", "helmchart", "-n", "helm-story", "greeter"); !strings.Contains(got, "greeting must not be empty") {
			t.Errorf("describe does not say what is wrong:\n%s", got)
		}
		if got := data(t, "greeter", `index\.html`); got != "from the config" {
			t.Errorf("greeting = %q, want what was deployed to stay", got)
		}
		config(t, "greeting: repaired")
		ready(t, "greeter", "True", "revision 3")
		if got := kubectl(t, ctx, n, "get", "helmcharts", "-n", "helm-story"); !strings.Contains(got, "TARGETNAMESPACE") || !strings.Contains(got, "helm-target") {
			t.Errorf("get helmcharts =\n%s", got)
		}
		if got := kubectl(t, ctx, n, "get", "jobs", "-A", "-o", "name"); strings.Contains(got, "helm-install") {
			t.Errorf("jobs = %q, want none of helm", got)
		}
	})
	t.Run("repository", func(t *testing.T) {
		// The node resolves no names of the cluster, so the URL has the Service's address.
		apply(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: repo, namespace: helm-story}
data:
  index.yaml: |
    apiVersion: v1
    entries:
      greeter:
      - {apiVersion: v2, name: greeter, version: 2.0.0, urls: [greeter-2.0.0.tgz]}
      - {apiVersion: v2, name: greeter, version: 3.0.0, urls: [greeter-3.0.0.tgz]}
binaryData:
  greeter-2.0.0.tgz: `+helmChart(t, "2.0.0")+`
---
apiVersion: v1
kind: Service
metadata: {name: repo, namespace: helm-story}
spec:
  selector: {app: repo}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: repo, namespace: helm-story, labels: {app: repo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: httpd
    image: keelson.dev/busybox:1
    command: [httpd, -f, -p, "8080", -h, /www]
    volumeMounts: [{name: www, mountPath: /www}]
  volumes: [{name: www, configMap: {name: repo}}]
`)
		address := kubectl(t, ctx, n, "get", "service", "-n", "helm-story", "repo", "-o", "jsonpath={.spec.clusterIP}")
		apply(t, `
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: fetched, namespace: helm-story}
spec:
  repo: http://`+address+`
  chart: greeter
  version: "2.x"
  targetNamespace: helm-target
  set:
    greeting: "7"
    replicas: 0
`)
		// Until the pod serves, the first tries fail.
		ready(t, "fetched", "True", "revision 1", "greeter-2.0.0")
		if got := data(t, "fetched", `index\.html`) + " " + data(t, "fetched", "version"); got != "7 2.0.0" {
			t.Errorf("greeting and version = %q", got)
		}
	})
	t.Run("deletion uninstalls, also without the repository", func(t *testing.T) {
		kubectl(t, ctx, n, "delete", "pod", "-n", "helm-story", "repo")
		kubectl(t, ctx, n, "delete", "helmchart", "-n", "helm-story", "fetched", "greeter", "--timeout=2m")
		left := kubectl(t, ctx, n, "get", "deployments,secrets,configmaps", "-n", "helm-target", "-o", "name")
		if got := strings.Fields(left); len(got) != 1 || got[0] != "configmap/kube-root-ca.crt" {
			t.Errorf("left in helm-target: %q, want the namespace's own ConfigMap alone", got)
		}
	})
}
