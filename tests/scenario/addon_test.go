package scenario

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// addonStory puts files into the auto-deploy folder of a running node, changes them, breaks
// one and removes one, and looks at what becomes of their objects, Addons and events.
// All of it is in the namespace addon-story.
func addonStory(t *testing.T, ctx context.Context, n *harness.Node) {
	const folder = "/proc/1/root/var/lib/rancher/k3s/server/manifests"
	put := func(files map[string]string) {
		t.Helper()
		var script strings.Builder
		script.WriteString("set -e\n")
		for name, text := range files {
			// Beside, then moved: the story is not about files that are half written.
			fmt.Fprintf(&script, "f=%s/%s; mkdir -p ${f%%/*}; echo %s | base64 -d > $f.new; mv $f.new $f\n", folder, name, base64.StdEncoding.EncodeToString([]byte(text)))
		}
		inProbe(t, ctx, n, script.String())
	}
	field := func(ctx context.Context, path string, args ...string) (string, error) {
		out, err := n.Kubectl(ctx, append([]string{"get", "-o", "jsonpath=" + path}, args...)...)
		return strings.TrimSpace(out), err
	}
	is := func(limit time.Duration, want, path string, args ...string) {
		t.Helper()
		eventually(t, ctx, limit, strings.Join(args, " ")+" to be "+want, func(ctx context.Context) error {
			got, err := field(ctx, path, args...)
			if err == nil && got != want {
				err = fmt.Errorf("%s is %q, want %q", path, got, want)
			}
			return err
		})
	}
	configMap := func(name, value string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: addon-story}\ndata: {value: %q}\n", name, value)
	}
	const namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: addon-story}\n"
	const definition = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stories.addon.example.org}
spec:
  group: addon.example.org
  names: {kind: Story, plural: stories}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`
	const story = "---\napiVersion: addon.example.org/v1\nkind: Story\nmetadata: {name: told, namespace: addon-story}\n"

	put(map[string]string{
		"story.yaml":            configMap("kept", "1") + configMap("dropped", "1") + story + definition + namespace,
		"story-sub/deeper.yml":  configMap("deeper", "1"),
		"story-broken.yaml":     "kind: [\n",
		"story-left.yaml":       configMap("left", "1"),
		"story-skip.yaml":       configMap("skipped", "1"),
		"story-skip.yaml.skip":  "",
		"story-sub/ignored.txt": "not a manifest",
	})
	t.Run("files are applied and tracked", func(t *testing.T) {
		is(90*time.Second, "told", "{.metadata.name}", "stories.addon.example.org", "told", "-n", "addon-story")
		is(time.Minute, "deeper dropped kept left", "{.items[*].metadata.name}", "configmap", "-n", "addon-story",
			"--sort-by=.metadata.name", "-l", "objectset.rio.cattle.io/hash")
	})
	if t.Failed() {
		return
	}
	t.Run("Addon and events are k3s's", func(t *testing.T) {
		is(time.Minute, "/var/lib/rancher/k3s/server/manifests/story.yaml", "{.spec.source}", "addon", "story", "-n", "kube-system")
		is(time.Minute, "story", `{.metadata.annotations.objectset\.rio\.cattle\.io/owner-name}`, "configmap", "kept", "-n", "addon-story")
		for addon, reason := range map[string]string{"story": "AppliedManifest", "story-broken": "ParseManifestFailed"} {
			is(time.Minute, reason, "{.items[0].reason}", "events", "-n", "kube-system", "--field-selector", "involvedObject.kind=Addon,reason="+reason+",involvedObject.name="+addon)
		}
		table := kubectl(t, ctx, n, "get", "addons.k3s.cattle.io", "-n", "kube-system")
		if head, _, _ := strings.Cut(table, "\n"); !strings.Contains(head, "SOURCE") || !strings.Contains(head, "CHECKSUM") {
			t.Errorf("kubectl get addons has the columns %q, want SOURCE and CHECKSUM", head)
		}
	})
	t.Run("a skipped file is not applied", func(t *testing.T) {
		if out, err := n.Kubectl(ctx, "get", "configmap", "skipped", "-n", "addon-story"); err == nil {
			t.Errorf("the skipped file's object is there:\n%s", out)
		}
	})
	t.Run("what left a file is deleted and what stayed is not written", func(t *testing.T) {
		before, err := field(ctx, "{.metadata.resourceVersion}", "configmap", "kept", "-n", "addon-story")
		if err != nil {
			t.Fatal(err)
		}
		inProbe(t, ctx, n, "rm "+folder+"/story-left.yaml")
		put(map[string]string{
			"story.yaml":           "# changed\n" + namespace + definition + configMap("kept", "1") + story,
			"story-sub/story.json": `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "twin", "namespace": "addon-story"}}`,
		})
		eventually(t, ctx, 90*time.Second, "the object that left its file to go", func(ctx context.Context) error {
			out, err := n.Kubectl(ctx, "get", "configmap", "dropped", "-n", "addon-story", "--ignore-not-found", "-o", "name")
			if err == nil && out != "" {
				err = fmt.Errorf("%s is there", strings.TrimSpace(out))
			}
			return err
		})
		after, err := field(ctx, "{.metadata.resourceVersion}", "configmap", "kept", "-n", "addon-story")
		if err != nil || after != before {
			t.Errorf("resourceVersion of what is unchanged = %s, %v, want still %s: applying it again must write nothing", after, err, before)
		}
	})
	t.Run("a file of the same name in a folder has its own Addon", func(t *testing.T) {
		is(time.Minute, "/var/lib/rancher/k3s/server/manifests/story-sub/story.json", "{.spec.source}", "addon", "story-sub-story", "-n", "kube-system")
		is(time.Minute, "story-sub-story", `{.metadata.annotations.objectset\.rio\.cattle\.io/owner-name}`, "configmap", "twin", "-n", "addon-story")
		is(time.Minute, "story", `{.metadata.annotations.objectset\.rio\.cattle\.io/owner-name}`, "configmap", "kept", "-n", "addon-story")
	})
	t.Run("a removed file leaves its objects", func(t *testing.T) {
		is(time.Minute, "left", "{.metadata.name}", "configmap", "left", "-n", "addon-story")
		is(time.Minute, "story-left", "{.metadata.name}", "addon", "story-left", "-n", "kube-system")
	})
}
