package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	kubefake "helm.sh/helm/v4/pkg/kube/fake"
	rcommon "helm.sh/helm/v4/pkg/release/common"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
)

// fakeAPI is Helm's client of the API; updates fail when told to.
type fakeAPI struct {
	kubefake.PrintingKubeClient
	fail error
}

func (f *fakeAPI) Update(_, l kube.ResourceList, _ ...kube.ClientUpdateOption) (*kube.Result, error) {
	return &kube.Result{Updated: l}, f.fail
}

// world is a cluster with Helm's Secrets in it, in memory.
type world struct {
	helm *Helm
	api  *fakeAPI
	cfg  *action.Configuration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	client := fake.NewClientset()
	api := &fakeAPI{PrintingKubeClient: kubefake.PrintingKubeClient{Out: io.Discard, LogOutput: io.Discard}}
	w := &world{api: api}
	w.helm = &Helm{
		configure: func(_ context.Context, namespace, _ string) (*action.Configuration, error) {
			c := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
			c.KubeClient = api
			c.Releases = storage.Init(driver.NewSecrets(client.CoreV1().Secrets(namespace)))
			c.Capabilities = common.DefaultCapabilities.Copy()
			w.cfg = c
			return c, nil
		},
		list: func(ctx context.Context, namespace, name, _ string) ([]metav1.ObjectMeta, error) {
			found, err := client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"owner": "helm", "name": name}.String()})
			if err != nil {
				return nil, err
			}
			var metas []metav1.ObjectMeta
			for _, s := range found.Items {
				metas = append(metas, s.ObjectMeta)
			}
			return metas, nil
		},
	}
	return w
}

// set puts the newest revision into a state, as a process leaves it that was ended.
func (w *world) set(t *testing.T, status rcommon.Status) {
	t.Helper()
	s, err := w.helm.State(t.Context(), "web", "app", "")
	if err != nil {
		t.Fatal(err)
	}
	rel, err := get(w.cfg, "app", s.Revision)
	if err != nil {
		t.Fatal(err)
	}
	rel.SetStatus(status, "")
	if err := w.cfg.Releases.Update(rel); err != nil {
		t.Fatal(err)
	}
}

func target(hash string) Target {
	return Target{Name: "app", Namespace: "web", Hash: hash, Policy: Reinstall}
}

// content is a chart of one ConfigMap with one value.
func content(template string, vals map[string]any) Content {
	return func(context.Context) (*chart.Chart, map[string]any, error) {
		return &chart.Chart{
			Metadata:  &chart.Metadata{APIVersion: "v2", Name: "demo", Version: "1.2.3", AppVersion: "9"},
			Values:    map[string]any{"color": "blue"},
			Templates: []*common.File{{Name: "templates/cm.yaml", Data: []byte(template)}},
		}, vals, nil
	}
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  color: {{ .Values.color }}\n"

func TestApplyInstallsThenUpgrades(t *testing.T) {
	w := newWorld(t)
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s != (State{}) {
		t.Fatalf("State of nothing = %+v, %v", s, err)
	}
	info, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil))
	if want := (Info{1, "demo-1.2.3", "9"}); err != nil || info != want {
		t.Fatalf("Apply = %+v, %v, want %+v", info, err, want)
	}
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s != (State{1, "deployed", "one"}) {
		t.Errorf("State = %+v, %v", s, err)
	}
	info, err = w.helm.Apply(t.Context(), target("two"), content(configMap, map[string]any{"color": "red"}))
	if err != nil || info.Revision != 2 {
		t.Fatalf("second Apply = %+v, %v, want revision 2", info, err)
	}
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s != (State{2, "deployed", "two"}) {
		t.Errorf("State = %+v, %v", s, err)
	}
	rel, err := get(w.cfg, "app", 2)
	if err != nil || !strings.Contains(rel.Manifest, "color: red") {
		t.Errorf("manifest of revision 2 = %q, %v", rel.Manifest, err)
	}
	if rel, err := get(w.cfg, "app", 1); err != nil || rel.Info.Status != rcommon.StatusSuperseded {
		t.Errorf("revision 1 is %v, %v, want superseded", rel.Info.Status, err)
	}
}

func TestUpgradeForgetsValuesThatWereTakenAway(t *testing.T) {
	w := newWorld(t)
	if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, map[string]any{"color": "red"})); err != nil {
		t.Fatal(err)
	}
	if _, err := w.helm.Apply(t.Context(), target("two"), content(configMap, nil)); err != nil {
		t.Fatal(err)
	}
	if rel, err := get(w.cfg, "app", 2); err != nil || !strings.Contains(rel.Manifest, "color: blue") {
		t.Errorf("manifest = %q, %v, want the chart's default", rel.Manifest, err)
	}
}

func TestStateDecidesWhatApplyDoes(t *testing.T) {
	for _, tt := range []struct {
		status   rcommon.Status
		policy   Policy
		revision int // 0: ErrAborted
	}{
		{rcommon.StatusDeployed, Reinstall, 2},
		{rcommon.StatusFailed, Reinstall, 1},
		{rcommon.StatusFailed, Retry, 2},
		{rcommon.StatusFailed, Abort, 0},
		{rcommon.StatusUnknown, Reinstall, 1},
		{rcommon.StatusPendingUpgrade, Reinstall, 2},
		{rcommon.StatusPendingUpgrade, Abort, 2},
		{rcommon.StatusSuperseded, Reinstall, 2},
		{rcommon.StatusPendingInstall, Reinstall, 1},
		{rcommon.StatusPendingInstall, Retry, 2},
		{rcommon.StatusPendingInstall, Abort, 0},
		{rcommon.StatusPendingRollback, Reinstall, 1},
		{rcommon.StatusUninstalling, Reinstall, 1},
		{rcommon.StatusUninstalled, Abort, 2},
	} {
		t.Run(string(tt.status)+" "+string(tt.policy), func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil)); err != nil {
				t.Fatal(err)
			}
			w.set(t, tt.status)
			to := target("two")
			to.Policy = tt.policy
			info, err := w.helm.Apply(t.Context(), to, content(configMap, nil))
			if tt.revision == 0 {
				if !errors.Is(err, ErrAborted) {
					t.Fatalf("Apply = %+v, %v, want ErrAborted", info, err)
				}
				if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s.Status != "failed" {
					t.Errorf("State = %+v, %v, want failed", s, err)
				}
				return
			}
			if err != nil || info.Revision != tt.revision {
				t.Fatalf("Apply = %+v, %v, want revision %d", info, err, tt.revision)
			}
			if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s != (State{tt.revision, "deployed", "two"}) {
				t.Errorf("State = %+v, %v, want revision %d deployed", s, err, tt.revision)
			}
		})
	}
}

func TestTemplateErrorLeavesTheReleaseDeployed(t *testing.T) {
	w := newWorld(t)
	if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil)); err != nil {
		t.Fatal(err)
	}
	_, err := w.helm.Apply(t.Context(), target("two"), content(`{{ fail "color is required" }}`, nil))
	if err == nil || !strings.Contains(err.Error(), "color is required") {
		t.Errorf("Apply = %v, want the template's own words", err)
	}
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s != (State{1, "deployed", "one"}) {
		t.Errorf("State = %+v, %v, want revision 1 deployed", s, err)
	}
}

func TestNothingIsUninstalledForAChartThatCannotBeHad(t *testing.T) {
	w := newWorld(t)
	if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil)); err != nil {
		t.Fatal(err)
	}
	w.set(t, rcommon.StatusFailed)
	away := errors.New("the repository does not answer")
	_, err := w.helm.Apply(t.Context(), target("two"), func(context.Context) (*chart.Chart, map[string]any, error) { return nil, nil, away })
	if !errors.Is(err, away) {
		t.Errorf("Apply = %v, want %v", err, away)
	}
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s.Revision != 1 {
		t.Errorf("State = %+v, %v, want revision 1", s, err)
	}
}

func TestFailedUpgradeIsReinstalledNextTime(t *testing.T) {
	w := newWorld(t)
	if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil)); err != nil {
		t.Fatal(err)
	}
	w.api.fail = errors.New("field is immutable")
	if _, err := w.helm.Apply(t.Context(), target("two"), content(configMap, nil)); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("Apply = %v, want the API's words", err)
	}
	if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s.Status != "failed" || s.Revision != 2 {
		t.Errorf("State = %+v, %v, want revision 2 failed", s, err)
	}
	w.api.fail = nil
	if info, err := w.helm.Apply(t.Context(), target("two"), content(configMap, nil)); err != nil || info.Revision != 1 {
		t.Errorf("Apply = %+v, %v, want revision 1 of a new install", info, err)
	}
}

func TestMissingNamespaceHasAHint(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "web")
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("create: failed to create: %w", gone), true},
		{apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "other"), false},
		{apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "web"), false},
		{errors.New("namespaces \"web\" not found"), false},
	} {
		if got := missingNamespace(tt.err, "web"); got != tt.want {
			t.Errorf("missingNamespace(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestUninstallRemovesAndForgives(t *testing.T) {
	w := newWorld(t)
	if err := w.helm.Uninstall(t.Context(), target("")); err != nil {
		t.Errorf("Uninstall of nothing = %v", err)
	}
	for _, status := range []rcommon.Status{rcommon.StatusDeployed, rcommon.StatusPendingUpgrade, rcommon.StatusUninstalling, rcommon.StatusFailed, rcommon.StatusUninstalled} {
		if _, err := w.helm.Apply(t.Context(), target("one"), content(configMap, nil)); err != nil {
			t.Fatal(err)
		}
		w.set(t, status)
		if err := w.helm.Uninstall(t.Context(), target("")); err != nil {
			t.Errorf("Uninstall of a release that is %s = %v", status, err)
		}
		if s, err := w.helm.State(t.Context(), "web", "app", ""); err != nil || s.Revision != 0 {
			t.Errorf("State after Uninstall = %+v, %v, want none", s, err)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	for range maxHistory + 3 {
		if _, err := w.helm.Apply(t.Context(), target("x"), content(configMap, nil)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.helm.list(t.Context(), "web", "app", "")
	if err != nil || len(all) != maxHistory {
		t.Errorf("%d revisions are kept (%v), want %d", len(all), err, maxHistory)
	}
}

func TestForceConflictsIsForServerSideApplyOnly(t *testing.T) {
	for _, side := range []string{"true", "false", "auto"} {
		w := newWorld(t)
		to := target("one")
		to.ServerSide, to.ForceConflicts = side, true
		for _, want := range []int{1, 2} {
			if info, err := w.helm.Apply(t.Context(), to, content(configMap, nil)); err != nil || info.Revision != want {
				t.Errorf("serverSide %s: Apply = %+v, %v, want revision %d", side, info, err, want)
			}
		}
		rel, err := get(w.cfg, "app", 2)
		if want := map[string]string{"true": "ssa", "auto": "ssa", "false": "csa"}[side]; err != nil || rel.ApplyMethod != want {
			t.Errorf("serverSide %s: apply method %q, %v, want %q", side, rel.ApplyMethod, err, want)
		}
	}
}

func TestSecretIsHelmsOwn(t *testing.T) {
	w := newWorld(t)
	if _, err := w.helm.Apply(t.Context(), target("abc"), content(configMap, nil)); err != nil {
		t.Fatal(err)
	}
	all, err := w.helm.list(t.Context(), "web", "app", "")
	if err != nil || len(all) != 1 || all[0].Name != "sh.helm.release.v1.app.v1" {
		t.Fatalf("Secrets = %+v, %v", all, err)
	}
	want := []string{"owner=helm", "name=app", "status=deployed", "version=1", HashLabel + "=abc"}
	for _, l := range want {
		k, v, _ := strings.Cut(l, "=")
		if all[0].Labels[k] != v {
			t.Errorf("label %s = %q, want %q", k, all[0].Labels[k], v)
		}
	}
}
