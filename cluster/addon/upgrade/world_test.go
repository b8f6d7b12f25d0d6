package upgrade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/machine"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/yaml"
)

// What becomes of a fake machine's reboot.
const (
	comesGood  = machine.AttemptGood
	rollsBack  = machine.AttemptRolledBack
	neverBack  = "never back"
	downFor    = 30 * time.Second // from the reboot on it does not answer
	verdictFor = 90 * time.Second // and this is when its trial ends
)

// fakeMachine is a node's machine API, with a machine behind it.
type fakeMachine struct {
	w    *world
	name string

	mu       sync.Mutex
	version  string
	slot     string
	attempt  *machine.Attempt
	booted   time.Time // when the kernel started
	rebooted time.Time // of the reboot of the attempt; zero: none
	fate     string    // comesGood, …

	refuse   error         // of Upgrade
	has      string        // version that it says to run already
	busy     int           // that many Upgrades are answered with ErrBusy
	lost     int           // that many Upgrades lose the bundle's server
	armed    func()        // called when an upgrade is armed, before its answer
	ordered  func()        // called when it is told to reboot
	takes    time.Duration // of an upgrade
	upgrades []machine.UpgradeRequest
	reboots  int
}

func (m *fakeMachine) Close() {}

// settle makes of the machine what time has made of it.
func (m *fakeMachine) settle() {
	if m.rebooted.IsZero() || m.attempt == nil {
		return
	}
	after := time.Since(m.rebooted)
	switch {
	case after < downFor || m.fate == neverBack:
	case after < verdictFor:
		m.attempt.State, m.slot, m.booted = machine.AttemptTrying, m.attempt.To.Slot, m.rebooted.Add(downFor)
	default:
		m.attempt.State, m.rebooted = m.fate, time.Time{}
		if m.fate == rollsBack {
			m.attempt.Reason, m.slot = "the kernel panicked", m.attempt.From.Slot
		} else {
			m.version, m.slot = m.attempt.To.Version, m.attempt.To.Slot
		}
	}
}

func (m *fakeMachine) Status(context.Context) (machine.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	if !m.rebooted.IsZero() && (time.Since(m.rebooted) < downFor || m.fate == neverBack) {
		return machine.Status{}, errors.New("connection refused")
	}
	st := machine.Status{Version: machine.Version{Version: m.version, Slot: m.slot}, Uptime: machine.SecondsOf(time.Since(m.booted))}
	if m.attempt != nil {
		a := *m.attempt
		st.Upgrade = &a
		if a.State == machine.AttemptTrying {
			st.Trial = &machine.Trial{Kind: "upgrade", Waiting: "Node Ready"}
		}
	}
	return st, nil
}

func (m *fakeMachine) Upgrade(ctx context.Context, r machine.UpgradeRequest, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy > 0 {
		m.busy--
		return machine.UpgradeResult{}, &machine.Error{Status: 409, Message: "another upgrade is under way"}
	}
	if m.lost > 0 {
		m.lost--
		return machine.UpgradeResult{}, &machine.Error{Status: 502, Message: "the server went away"}
	}
	m.upgrades = append(m.upgrades, r)
	m.w.did(m.name + " upgrade")
	if m.refuse != nil {
		return machine.UpgradeResult{}, m.refuse
	}
	if m.has != "" {
		return machine.UpgradeResult{To: machine.System{Version: m.has}}, nil
	}
	progress(machine.UpgradeProgress{Phase: "root", Done: 1e6, Total: 2e6, Fetched: 5e5})
	if !await.Pause(ctx, m.takes) {
		return machine.UpgradeResult{}, ctx.Err()
	}
	from, to := machine.System{Slot: m.slot, Version: m.version}, machine.System{Slot: map[string]string{"a": "b", "b": "a"}[m.slot], Version: "0.2.0"}
	m.attempt = &machine.Attempt{ID: fmt.Sprintf("%s-%d", m.name, len(m.upgrades)), From: from, To: to, State: machine.AttemptArmed, Started: time.Now()}
	if m.armed != nil {
		m.armed()
	}
	if ctx.Err() != nil {
		return machine.UpgradeResult{}, ctx.Err()
	}
	return machine.UpgradeResult{From: from, To: to, Armed: true, Total: 2e6, Fetched: 5e5}, nil
}

func (m *fakeMachine) Reboot(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reboots++
	m.rebooted = time.Now()
	m.w.did(m.name + " reboot")
	if m.ordered != nil {
		m.ordered()
	}
	return nil
}

// world is a cluster with its machines, and the controller.
type world struct {
	t        *testing.T
	dyn      *dynamicfake.FakeDynamicClient
	client   *fake.Clientset
	machines map[string]*fakeMachine
	recorder *record.FakeRecorder
	held     map[string]bool // pods, by name, that a budget keeps from being evicted

	*controller
	stop context.CancelFunc
	done chan struct{}

	mu  sync.Mutex
	log []string // what was done to the nodes, in order
}

func (w *world) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
}

func (w *world) deeds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

// inWorld runs a story on nodes of these names, in a bubble of its own time. The name of a
// server begins with s.
func inWorld(t *testing.T, names []string, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, machines: map[string]*fakeMachine{}, held: map[string]bool{}, recorder: record.NewFakeRecorder(1000)}
		var objects []runtime.Object
		for _, name := range names {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
			if strings.HasPrefix(name, "s") {
				n.Labels = map[string]string{labelControlPlane: "true"}
			}
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			objects = append(objects, n)
			w.machines[name] = &fakeMachine{w: w, name: name, version: "0.1.0", slot: "a", booted: time.Now().Add(-time.Hour), fate: comesGood, takes: time.Minute}
		}
		w.client = fake.NewClientset(objects...)
		w.client.Resources = []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods/eviction", Kind: "Eviction", Group: "policy", Version: "v1"},
		}}}
		w.client.PrependReactor("create", "pods", w.evict)
		w.client.PrependReactor("list", "pods", w.listPods)
		w.client.PrependReactor("patch", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if p, ok := action.(clienttesting.PatchAction); ok {
				verb := "uncordon"
				if strings.Contains(string(p.GetPatch()), `"unschedulable":true`) {
					verb = "cordon"
				}
				w.did(p.GetName() + " " + verb)
			}
			return false, nil, nil
		})
		w.dyn = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource(): "UpgradeList"})
		story(w)
		w.halt()
	})
}

// evict is the API server's eviction.
func (w *world) evict(action clienttesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "eviction" {
		return false, nil, nil
	}
	e, ok := action.(clienttesting.CreateAction)
	if !ok {
		return false, nil, nil
	}
	m, ok := e.GetObject().(metav1.Object)
	if !ok {
		return false, nil, nil
	}
	w.mu.Lock()
	held := w.held[m.GetName()]
	w.mu.Unlock()
	if held {
		return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	}
	w.did("evict " + m.GetName())
	return true, nil, w.client.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, m.GetNamespace(), m.GetName())
}

// listPods obeys field selectors, which the fake client does not.
func (w *world) listPods(action clienttesting.Action) (bool, runtime.Object, error) {
	l, ok := action.(clienttesting.ListAction)
	if !ok {
		return false, nil, nil
	}
	want, ok := l.GetListRestrictions().Fields.RequiresExactMatch("spec.nodeName")
	if !ok {
		return false, nil, nil
	}
	gvr := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	all, err := w.client.Tracker().List(gvr, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "")
	if err != nil {
		return true, nil, err
	}
	list, ok := all.(*corev1.PodList)
	if !ok {
		return true, nil, fmt.Errorf("a %T", all)
	}
	list.Items = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName != want })
	return true, list, nil
}

// run starts a controller, as a start of the node process does; one that ran is ended.
func (w *world) run() {
	w.t.Helper()
	w.halt()
	ctx, cancel := context.WithCancel(w.t.Context())
	c := newController(w.dyn, w.client, func(n *corev1.Node) (node, error) { return w.machines[n.Name], nil }, w.recorder, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	w.controller, w.stop, w.done = c, cancel, done
	list, err := w.dyn.Resource(resource()).List(ctx, metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range list.Items {
		c.queue.Add(list.Items[i].GetName())
	}
	if err := c.sweep(ctx); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(done)
		c.work(ctx)
	}()
}

func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		<-w.done
	}
}

// put makes an Upgrade, or changes the spec of one.
func (w *world) put(name, spec string) {
	w.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": group + "/" + version, "kind": kind}}
	u.SetName(name)
	var s map[string]any
	if err := yaml.Unmarshal([]byte(spec), &s); err != nil {
		w.t.Fatal(err)
	}
	u.Object["spec"] = s
	have, err := w.dyn.Resource(resource()).Get(w.t.Context(), name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		u.SetGeneration(1)
		u.SetUID(types.UID(fmt.Sprintf("%s-%d", name, time.Now().UnixNano())))
		u.SetCreationTimestamp(metav1.Now())
		_, err = w.dyn.Resource(resource()).Create(w.t.Context(), u, metav1.CreateOptions{})
	case err == nil:
		have.Object["spec"] = s
		have.SetGeneration(have.GetGeneration() + 1)
		_, err = w.dyn.Resource(resource()).Update(w.t.Context(), have, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if w.controller != nil {
		w.queue.Add(name)
	}
}

func (w *world) delete(name string) {
	w.t.Helper()
	if err := w.dyn.Resource(resource()).Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.queue.Add(name)
}

func (w *world) upgrade(name string) *upgrade {
	w.t.Helper()
	object, err := w.dyn.Resource(resource()).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := decode(object)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// await waits until is holds of an Upgrade, and returns how long that took.
func (w *world) await(name string, limit time.Duration, what string, is func(*upgrade) bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		u := w.upgrade(name)
		if is(u) {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			w.t.Fatalf("Upgrade %s is not %s after %s: %s %s %q, nodes %+v", name, what, limit, u.Status.Phase, u.Status.Progress, u.Status.Message, u.Status.Nodes)
		}
		time.Sleep(time.Second)
	}
}

func (w *world) awaitPhase(name string, p phase, limit time.Duration) time.Duration {
	w.t.Helper()
	return w.await(name, limit, string(p), func(u *upgrade) bool { return u.Status.Phase == p })
}

func (w *world) awaitNode(name, node string, p nodePhase, limit time.Duration) {
	w.t.Helper()
	w.await(name, limit, node+" "+string(p), func(u *upgrade) bool {
		n := u.Status.node(node)
		return n != nil && n.Phase == p
	})
}

func (w *world) node(name string) *corev1.Node {
	w.t.Helper()
	n, err := w.client.CoreV1().Nodes().Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// wantFree says that a node takes pods and has no mark of ours.
func (w *world) wantFree(name string) {
	w.t.Helper()
	if n := w.node(name); n.Spec.Unschedulable || n.Annotations[annotationCordoned] != "" {
		w.t.Errorf("node %s is cordoned (%v) by %q, want neither", name, n.Spec.Unschedulable, n.Annotations[annotationCordoned])
	}
}

// pod puts a pod on a node; owner is the kind of its controller, empty for none.
func (w *world) pod(name, node, owner string, change ...func(*corev1.Pod)) {
	w.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: node}}
	if owner != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "of-" + name, Controller: &yes}}
	}
	for _, f := range change {
		f(p)
	}
	if _, err := w.client.CoreV1().Pods("default").Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pods() []string {
	w.t.Helper()
	list, err := w.client.CoreV1().Pods("").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// told are the reasons of the events so far.
func (w *world) told() []string {
	var all []string
	for len(w.recorder.Events) > 0 {
		all = append(all, strings.Fields(<-w.recorder.Events)[1])
	}
	return all
}
