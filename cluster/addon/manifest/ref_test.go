package manifest

import (
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestPackGroupsByKindAndUnpackReadsItBack(t *testing.T) {
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	role := schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}
	refs := []ref{{role, "", "system:x"}, {deployment, "b", "two"}, {deployment, "a", "one"}, {deployment, "a", "one"}}
	got := pack(refs)
	want := []entry{
		{"apps/v1", "Deployment", []string{"a/one", "b/two"}},
		{"rbac.authorization.k8s.io/v1", "ClusterRole", []string{"system:x"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("pack = %v, want %v", got, want)
	}
	if back := unpack(got); !reflect.DeepEqual(back, set(refs)) {
		t.Errorf("unpack = %v, want %v", back, set(refs))
	}
	if got, want := kinds(refs), "apps/v1, Kind=Deployment;rbac.authorization.k8s.io/v1, Kind=ClusterRole"; got != want {
		t.Errorf("kinds = %q, want %q", got, want)
	}
	if got := unpack([]entry{{"v1", "", []string{"a"}}, {"v1", "Secret", []string{"", "x/"}}}); len(got) != 0 {
		t.Errorf("unpack of entries without kind or name = %v, want none", got)
	}
}

// The wanted value is on the ConfigMap coredns of any k3s cluster.
func TestHashIsK3ss(t *testing.T) {
	if got, want := hash("coredns"), "bce283298811743a0386ab510f2f67ef74240c57"; got != want {
		t.Errorf("hash(coredns) = %s, want %s", got, want)
	}
}

func TestOursNeedsTheMarksAndTheFieldManager(t *testing.T) {
	marks := func(change map[string]string) map[string]string {
		out := map[string]string{markKind: addonKind, markName: "app", markNamespace: "kube-system"}
		for k, v := range change {
			out[k] = v
		}
		return out
	}
	for _, c := range []struct {
		name        string
		annotations map[string]string
		manager     string
		want        bool
	}{
		{"ours", marks(nil), fieldManager, true},
		{"another addon's", marks(map[string]string{markName: "other"}), fieldManager, false},
		{"another kind of owner", marks(map[string]string{markKind: "helm.cattle.io/v1, Kind=HelmChart"}), fieldManager, false},
		{"without marks", nil, fieldManager, false},
		{"all fields taken over", marks(nil), "kubectl", false},
		{"to be kept", marks(map[string]string{markPrune: "false"}), fieldManager, false},
	} {
		o := &metav1.ObjectMeta{Annotations: c.annotations, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: c.manager}}}
		if got := ours(o, "app"); got != c.want {
			t.Errorf("%s: ours = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAddonNamesAreK3ssFirstAndAlwaysValid(t *testing.T) {
	for _, c := range []struct{ rel, first, second string }{
		{"app.yaml", "app", "app"},
		{"shop/app.v2.yaml", "app", "shop-app"},
		{"My_App.yml", "my-app", "my-app"},
		{"_.yaml", "addon", "addon"},
	} {
		got := addonNames(c.rel)
		if got[0] != c.first || got[1] != c.second {
			t.Errorf("addonNames(%q) = %q, want %q and %q first", c.rel, got, c.first, c.second)
		}
	}
	if a, b := addonNames("a/x.yaml")[2], addonNames("b/x.yaml")[2]; a == b {
		t.Errorf("the last names of two files are both %q", a)
	}
}

func TestDisabledTakesFilesByNameAndFoldersByPath(t *testing.T) {
	for _, c := range []struct {
		rel, name string
		want      bool
	}{
		{"traefik.yaml", "traefik", true},
		{"sub/traefik.yml", "traefik", true},
		{"traefik-config.yaml", "traefik", false},
		{"metrics-server/service.yaml", "metrics-server", true},
		{"metrics-server-x/service.yaml", "metrics-server", false},
		{"a/b/c.yaml", "a/b", true},
		{"a.yaml", "", false},
	} {
		if got := Disabled(c.rel, []string{"coredns", c.name}); got != c.want {
			t.Errorf("Disabled(%q, %q) = %v, want %v", c.rel, c.name, got, c.want)
		}
	}
}
