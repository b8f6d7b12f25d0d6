package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// world is a folder and a cluster in memory, with what the applier sees of it.
type world struct {
	t        *testing.T
	dir      string
	now      time.Time
	disabled []string
	helm     bool
	a        *applier
	events   chan string

	owner  map[string]string // of each object the Addon, by "Kind namespace/name"
	faults map[string]error  // by object
	kinds  map[string]bool   // served beside those of scope
	log    []string          // writes
	addons map[string]addon
}

var scope = map[string]bool{"ConfigMap": true, "Secret": true, "HelmChart": true, "Namespace": false, "ClusterRole": false, "CustomResourceDefinition": false}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, dir: t.TempDir(), now: time.Unix(1_800_000_000, 0), helm: true,
		owner: map[string]string{}, faults: map[string]error{}, kinds: map[string]bool{}, addons: map[string]addon{},
	}
	w.restart()
	return w
}

// restart is a new process.
func (w *world) restart() {
	w.t.Helper()
	w.a = newApplier(Options{Dir: w.dir, Disabled: w.disabled, HelmRuns: w.helm, Log: slog.New(slog.DiscardHandler)})
	recorder := record.NewFakeRecorder(1000)
	w.a.objects, w.a.store, w.a.recorder, w.events = fakeObjects{w}, fakeAddons{w}, recorder, recorder.Events
	if err := w.a.remember(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// write writes a file and waits until it counts as left alone.
func (w *world) write(name string, objects ...string) {
	w.t.Helper()
	var text strings.Builder
	for _, o := range objects {
		kind, path, _ := strings.Cut(o, " ")
		r := unpack([]entry{{"v1", kind, []string{path}}})[0]
		version := map[string]string{"HelmChart": "helm.cattle.io/v1", "Thing": "example.org/v1"}[kind]
		fmt.Fprintf(&text, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %q, namespace: %q}\n", cmp.Or(version, "v1"), kind, r.name, r.namespace)
	}
	w.text(name, text.String())
}

func (w *world) text(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chtimes(path, w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(settle + time.Second)
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets the applier work once and returns the events and the writes.
func (w *world) pass() (events, log []string) {
	w.t.Helper()
	w.log = nil
	w.a.pass(w.t.Context(), w.now)
	for {
		select {
		case e := <-w.events:
			events = append(events, e)
			continue
		default:
		}
		return events, w.log
	}
}

// has fails the test unless these are the cluster's objects, as "Kind namespace/name addon".
func (w *world) has(want ...string) {
	w.t.Helper()
	var got []string
	for o, addon := range w.owner {
		got = append(got, o+" "+addon)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("objects are %q, want %q", got, want)
	}
}

// reasons are the second words of events.
func reasons(events []string) []string {
	out := make([]string, 0, len(events))
	for _, e := range events {
		out = append(out, strings.Fields(e)[1])
	}
	return out
}

func (w *world) wantReasons(events []string, want ...string) {
	w.t.Helper()
	if got := reasons(events); !slices.Equal(got, want) {
		w.t.Errorf("events are %q, want %q", events, want)
	}
}

type fakeObjects struct{ *world }

func (w fakeObjects) Namespaced(_ context.Context, kind schema.GroupVersionKind) (bool, error) {
	if namespaced, ok := scope[kind.Kind]; ok {
		return namespaced, nil
	}
	if w.kinds[kind.Kind] {
		return true, nil
	}
	return false, errUnknownKind
}

func (w fakeObjects) Apply(_ context.Context, o *unstructured.Unstructured) error {
	name := refOf(o).String()
	if err := w.faults[name]; err != nil {
		return err
	}
	w.log = append(w.log, "apply "+name)
	w.owner[name] = o.GetAnnotations()[markName]
	return nil
}

func (w fakeObjects) Delete(_ context.Context, r ref, addon string) (bool, error) {
	if err := w.faults[r.String()]; err != nil {
		return false, err
	}
	if w.owner[r.String()] != addon {
		return false, nil
	}
	w.log = append(w.log, "delete "+r.String())
	delete(w.owner, r.String())
	return true, nil
}

type fakeAddons struct{ *world }

func (w fakeAddons) List(context.Context) ([]addon, error) {
	return slices.Collect(maps.Values(w.addons)), nil
}

func (w fakeAddons) Put(_ context.Context, a addon) (types.UID, error) {
	a.uid = types.UID("uid-" + a.name)
	a.objects = unpack(pack(a.objects))
	w.addons[a.name] = a
	w.log = append(w.log, "put "+a.name)
	return a.uid, nil
}

func (w fakeAddons) Delete(_ context.Context, name string) error {
	w.log = append(w.log, "drop "+name)
	delete(w.addons, name)
	return nil
}

func TestAppliedFileHasAnAddonAndEvents(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one", "Namespace shop", "ConfigMap shop/two")
	events, log := w.pass()
	w.has("Namespace shop app", "ConfigMap default/one app", "ConfigMap shop/two app")
	w.wantReasons(events, reasonApplying, reasonApplied)
	if want := []string{"put app", "apply Namespace shop", "apply ConfigMap default/one", "apply ConfigMap shop/two", "put app"}; !slices.Equal(log, want) {
		t.Errorf("writes are %q, want the inventory first: %q", log, want)
	}
	x := w.addons["app"]
	if x.source != filepath.Join(w.dir, "app.yaml") || len(x.checksum) != 64 || len(x.objects) != 3 {
		t.Errorf("Addon is %+v", x)
	}
	if events, log := w.pass(); len(events)+len(log) != 0 {
		t.Errorf("a pass without a change makes %q and %q, want nothing", events, log)
	}
}

func TestIdleRestartWritesNoAddonAndNoEvent(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.restart()
	events, log := w.pass()
	if want := []string{"apply ConfigMap default/one"}; len(events) != 0 || !slices.Equal(log, want) {
		t.Errorf("restart makes %q and %q, want no event and %q (which the server finds unchanged)", events, log, want)
	}
}

func TestFileBeingWrittenIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.text("app.yaml", "")
	w.now = w.now.Add(-settle) // one second after the write
	w.pass()
	w.has("ConfigMap default/one app")
	w.now = w.now.Add(settle)
	w.pass()
	w.has()
}

func TestObjectThatLeftItsFileIsDeletedAlsoOverARestart(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		w.write("app.yaml", "ConfigMap one", "ConfigMap shop/two", "Namespace shop")
		w.pass()
		w.write("app.yaml", "ConfigMap default/one") // the same one, with its namespace spelled out
		if restart {
			w.restart()
		}
		_, log := w.pass()
		w.has("ConfigMap default/one app")
		if i, j := slices.Index(log, "delete ConfigMap shop/two"), slices.Index(log, "delete Namespace shop"); i < 0 || j < i {
			t.Errorf("writes are %q, want the namespace deleted last", log)
		}
		if got := w.addons["app"].objects; len(got) != 1 {
			t.Errorf("the inventory is %v, want one object", got)
		}
	}
}

func TestObjectOfSomebodyElseIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one", "ConfigMap two")
	w.pass()
	w.owner["ConfigMap default/two"] = "somebody"
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.has("ConfigMap default/one app", "ConfigMap default/two somebody")
}

func TestObjectThatMovedToAnotherFileStays(t *testing.T) {
	for _, to := range []string{"a.yaml", "z.yaml"} { // before and after
		w := newWorld(t)
		w.write("m.yaml", "ConfigMap one", "ConfigMap two")
		w.pass()
		w.write("m.yaml", "ConfigMap one")
		w.write(to, "ConfigMap two")
		_, log := w.pass()
		w.has("ConfigMap default/one m", "ConfigMap default/two "+strings.TrimSuffix(to, ".yaml"))
		if slices.Contains(log, "delete ConfigMap default/two") {
			t.Errorf("to %s: writes are %q, want nothing deleted", to, log)
		}
	}
}

func TestChangesWaitForAFileThatIsBeingWrittenButNotForEver(t *testing.T) {
	w := newWorld(t)
	w.write("m.yaml", "ConfigMap one", "ConfigMap two")
	w.pass()
	w.write("m.yaml", "ConfigMap one")
	w.text("z.yaml", "")
	w.now = w.now.Add(-settle) // z.yaml was made a second ago
	w.pass()
	w.has("ConfigMap default/one m", "ConfigMap default/two m")
	w.write("z.yaml", "ConfigMap two")
	_, log := w.pass()
	w.has("ConfigMap default/one m", "ConfigMap default/two z")
	if slices.Contains(log, "delete ConfigMap default/two") {
		t.Errorf("writes are %q, want nothing deleted", log)
	}

	w.write("m.yaml", "ConfigMap new")
	for range int(holdMax/time.Second) + 1 {
		w.text("z.yaml", "# busy")
		w.now = w.now.Add(-settle)
		w.pass()
	}
	w.has("ConfigMap default/new m", "ConfigMap default/two z")
}

func TestObjectInTwoFilesIsTheLaterOnesUntilItLeaves(t *testing.T) {
	w := newWorld(t)
	w.write("a.yaml", "ConfigMap one", "ConfigMap mine")
	w.write("b.yaml", "ConfigMap one")
	events, log := w.pass()
	w.has("ConfigMap default/one b", "ConfigMap default/mine a")
	if !slices.Contains(reasons(events), reasonDuplicate) {
		t.Errorf("events are %q, want %s", events, reasonDuplicate)
	}
	if n := strings.Count(strings.Join(log, "\n"), "apply ConfigMap default/one"); n != 1 {
		t.Errorf("it was applied %d times, want once", n)
	}
	w.write("b.yaml", "ConfigMap other")
	w.pass()
	w.has("ConfigMap default/one a", "ConfigMap default/mine a", "ConfigMap default/other b")
}

func TestRemovedFileLeavesItsObjectsAndItsAddon(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.remove("app.yaml")
	_, log := w.pass()
	w.restart()
	_, more := w.pass()
	if len(log)+len(more) != 0 || len(w.addons) != 1 {
		t.Errorf("writes are %q and %q, Addons %v, want nothing changed", log, more, w.addons)
	}
	w.has("ConfigMap default/one app")
}

func TestSkippedFileIsAsIfItWereNotThere(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.text("app.yaml.skip", "")
	w.write("app.yaml", "ConfigMap two")
	w.pass()
	w.has("ConfigMap default/one app")
	w.remove("app.yaml.skip")
	w.pass()
	w.has("ConfigMap default/two app")
}

func TestBrokenFileIsToldOnceAndDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	w.text("app.yaml", "a: [")
	w.write("good.yaml", "ConfigMap two")
	events, _ := w.pass()
	w.has("ConfigMap default/one app", "ConfigMap default/two good")
	w.wantReasons(events, reasonParse, reasonApplying, reasonApplied)
	w.now = w.now.Add(time.Hour)
	if events, log := w.pass(); len(events)+len(log) != 0 {
		t.Errorf("an hour later: %q and %q, want nothing", events, log)
	}
	w.text("new.yaml", "- 1")
	events, _ = w.pass()
	w.wantReasons(events, reasonParse)
	if x, ok := w.addons["new"]; !ok || x.checksum != "" {
		t.Errorf("Addon new = %+v, want one without a checksum", x)
	}
}

func TestOneFaultyObjectDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t)
	w.faults["ConfigMap default/bad"] = errors.New("a webhook says no")
	w.write("app.yaml", "ConfigMap old")
	w.pass()
	w.write("app.yaml", "ConfigMap bad", "ConfigMap one")
	sum := w.addons["app"].checksum
	events, _ := w.pass()
	w.has("ConfigMap default/one app") // old is pruned all the same
	w.wantReasons(events, reasonApplying, reasonFailed)
	if got := w.addons["app"].checksum; got != sum {
		t.Errorf("checksum = %s, want that of the last success, %s", got, sum)
	}
	w.now = w.now.Add(retryMax)
	if events, log := w.pass(); len(events)+len(log) != 0 {
		t.Errorf("the same fault again makes %q and %q, want nothing", events, log)
	}
	delete(w.faults, "ConfigMap default/bad")
	w.now = w.now.Add(retryMax)
	events, log := w.pass()
	w.has("ConfigMap default/one app", "ConfigMap default/bad app")
	w.wantReasons(events, reasonApplied)
	if slices.Contains(log, "apply ConfigMap default/one") {
		t.Errorf("writes are %q, want only what failed applied again", log)
	}
}

func TestKindThatIsDefinedLaterIsAwaitedQuietlyAtFirst(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "Thing one")
	events, _ := w.pass()
	w.wantReasons(events, reasonApplying)
	w.kinds["Thing"] = true
	w.now = w.now.Add(retryMin)
	events, _ = w.pass()
	w.wantReasons(events, reasonApplied)
	w.has("Thing default/one app")
	if got := w.addons["app"].objects; len(got) != 1 {
		t.Errorf("the inventory is %v, want one object", got)
	}

	w.write("never.yaml", "Other one")
	var all []string
	for range 10 {
		events, _ := w.pass()
		all = append(all, events...)
		w.now = w.now.Add(retryMax)
	}
	w.wantReasons(all, reasonApplying, reasonFailed)
}

func TestObjectThatCannotBeDeletedStaysInTheInventory(t *testing.T) {
	w := newWorld(t)
	w.write("app.yaml", "ConfigMap one", "ConfigMap two")
	w.pass()
	w.faults["ConfigMap default/two"] = errors.New("conflict")
	w.write("app.yaml", "ConfigMap one")
	w.pass()
	if got := w.addons["app"].objects; len(got) != 2 {
		t.Errorf("the inventory is %v, want both", got)
	}
	clear(w.faults)
	w.now = w.now.Add(retryMax)
	w.pass()
	w.has("ConfigMap default/one app")
	if got := w.addons["app"].objects; len(got) != 1 {
		t.Errorf("the inventory is %v, want one", got)
	}
}

func TestFilesOfEqualNamesHaveAddonsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.write("b/deploy.yaml", "ConfigMap b")
	w.pass()
	w.write("a/deploy.yaml", "ConfigMap a")
	w.pass()
	w.restart()
	_, log := w.pass()
	w.has("ConfigMap default/a a-deploy", "ConfigMap default/b deploy")
	if slices.ContainsFunc(log, func(s string) bool { return !strings.HasPrefix(s, "apply") }) {
		t.Errorf("a restart writes %q, want the names kept", log)
	}
}

func TestDisabledFileObjectsAndAddonAreRemovedAndComeBack(t *testing.T) {
	w := newWorld(t)
	w.write("metrics-server/service.yaml", "ConfigMap one", "ClusterRole two")
	w.write("gone.yaml", "ConfigMap three")
	w.write("app.yaml", "ConfigMap four")
	w.pass()
	w.remove("gone.yaml")
	w.disabled = []string{"metrics-server", "gone", "servicelb"}
	w.restart()
	events, _ := w.pass()
	w.has("ConfigMap default/four app")
	w.wantReasons(events, reasonDeleting, reasonDeleting)
	if len(w.addons) != 1 {
		t.Errorf("Addons are %v, want app alone", w.addons)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "metrics-server/service.yaml")); err == nil {
		t.Error("the disabled file is still there")
	}
	if events, log := w.pass(); len(events)+len(log) != 0 {
		t.Errorf("the next pass makes %q and %q, want nothing", events, log)
	}
	w.disabled = nil
	w.write("metrics-server/service.yaml", "ConfigMap one", "ClusterRole two")
	w.restart()
	w.pass()
	w.has("ConfigMap default/four app", "ConfigMap default/one service", "ClusterRole two service")
}

func TestDisabledHelmChartWaitsForTheHelmController(t *testing.T) {
	w := newWorld(t)
	w.write("traefik.yaml", "HelmChart kube-system/traefik")
	w.pass()
	w.disabled, w.helm = []string{"traefik", "helm-controller"}, false
	w.restart()
	events, _ := w.pass()
	w.has("HelmChart kube-system/traefik traefik")
	w.wantReasons(events, reasonDeleteFailed)
	w.now = w.now.Add(retryMax)
	if events, log := w.pass(); len(events)+len(log) != 0 {
		t.Errorf("again: %q and %q, want nothing", events, log)
	}
	w.disabled, w.helm = []string{"traefik"}, true
	w.restart()
	w.pass()
	w.has()
}
