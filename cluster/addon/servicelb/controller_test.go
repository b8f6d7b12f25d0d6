package servicelb

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
)

// world is a cluster of fakes with the controller in it. Time is synctest's.
type world struct {
	t      *testing.T
	client *fake.Clientset
	events *record.FakeRecorder
}

// inWorld runs the controller on the objects and the story beside it.
func inWorld(t *testing.T, reserved map[Port]string, objects []runtime.Object, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, fake.NewClientset(objects...), record.NewFakeRecorder(100)}
		factory := informers.NewSharedInformerFactory(w.client, 0)
		c := newController(Options{Client: w.client, Factory: factory, Reserved: reserved, Log: slog.New(slog.DiscardHandler)}, w.events)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.run(ctx) }()
		w.settle()
		story(w)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run = %v, want nil after the end of its context", err)
		}
		factory.Shutdown()
	})
}

// settle lets the controller do all that it has to do.
func (w *world) settle() {
	time.Sleep(10 * settle)
	synctest.Wait()
}

func (w *world) get(name string) *corev1.Service {
	w.t.Helper()
	svc, err := w.client.CoreV1().Services("default").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return svc
}

// shows fails the test unless the Service has exactly these addresses.
func (w *world) shows(name string, want ...string) {
	w.t.Helper()
	if got := shown(w.get(name)); !slices.Equal(got, want) {
		w.t.Errorf("%s shows %q, want %q", name, got, want)
	}
}

// change writes an object that is there already, or not yet, and lets the controller act.
func (w *world) change(obj runtime.Object) {
	w.t.Helper()
	ctx, api := w.t.Context(), w.client
	var err error
	switch o := obj.(type) {
	case *corev1.Service:
		if _, err = api.CoreV1().Services(o.Namespace).Update(ctx, o, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
			_, err = api.CoreV1().Services(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		}
	case *corev1.Node:
		_, err = api.CoreV1().Nodes().Update(ctx, o, metav1.UpdateOptions{})
	case *corev1.Pod:
		_, err = api.CoreV1().Pods(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *discoveryv1.EndpointSlice:
		_, err = api.DiscoveryV1().EndpointSlices(o.Namespace).Update(ctx, o, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

func (w *world) delete(svc string) {
	w.t.Helper()
	if err := w.client.CoreV1().Services("default").Delete(w.t.Context(), svc, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// writes are the patches since the last call.
func (w *world) writes() int {
	n := 0
	for _, a := range w.client.Actions() {
		if a.GetVerb() == "patch" {
			n++
		}
	}
	w.client.ClearActions()
	return n
}

// said are the events since the last call.
func (w *world) said() []string {
	var list []string
	for {
		select {
		case e := <-w.events.Events:
			list = append(list, e)
		default:
			return list
		}
	}
}

// wants fails the test unless the events are these: each has the words of its row.
func (w *world) wants(rows ...[]string) {
	w.t.Helper()
	got := w.said()
	ok := len(got) == len(rows)
	for i := range min(len(got), len(rows)) {
		for _, word := range rows[i] {
			ok = ok && strings.Contains(got[i], word)
		}
	}
	if !ok {
		w.t.Errorf("events = %q, want %q", got, rows)
	}
}

func TestTheAddressOfTheNodeIsGivenAndFollowed(t *testing.T) {
	inWorld(t, nil, []runtime.Object{service("web", 1, "80"), aNode("a", "10.0.0.1")}, func(w *world) {
		w.shows("web", "10.0.0.1")
		if mode := w.get("web").Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
			t.Errorf("ipMode = %v, want VIP", mode)
		}
		w.wants([]string{"Normal UpdatedLoadBalancer", "[] -> [10.0.0.1]"})
		w.change(aNode("a", "10.0.0.2")) // DHCP
		w.shows("web", "10.0.0.2")
		down := aNode("a", "10.0.0.2")
		down.Status.Conditions[0].Status = corev1.ConditionUnknown
		w.said()
		w.change(down)
		w.shows("web")
		w.wants([]string{"Warning UnAvailableLoadBalancer", "Ready"})
		w.change(aNode("a", "10.0.0.2"))
		w.shows("web", "10.0.0.2")
		if err := w.client.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.shows("web")
	})
}

func TestNothingIsWrittenWhenNothingChanges(t *testing.T) {
	inWorld(t, nil, []runtime.Object{service("web", 2, "80"), service("later", 1, "80"), aNode("a", "10.0.0.1")}, func(w *world) {
		w.said()
		if got := w.writes(); got != 1 {
			t.Errorf("%d writes at first, want 1", got)
		}
		n := aNode("a", "10.0.0.1")
		n.Annotations = map[string]string{"heart": "beat"}
		w.change(n)
		n = aNode("a", "10.0.0.1", "a=label")
		w.change(n)
		web := w.get("web")
		web.Annotations = map[string]string{"some": "thing"}
		w.change(web)
		time.Sleep(24 * time.Hour)
		if got := w.writes(); got != 0 {
			t.Errorf("%d writes, want none", got)
		}
		w.wants()
	})
}

func TestOfOthersNothingIsTouched(t *testing.T) {
	foreign := service("foreign", 2, "80")
	class := "example.com/lb"
	foreign.Spec.LoadBalancerClass = &class
	foreign.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}
	internal := service("internal", 2, "80")
	internal.Spec.Type = corev1.ServiceTypeClusterIP
	inWorld(t, nil, []runtime.Object{foreign, internal, service("web", 1, "80"), aNode("a", "10.0.0.1")}, func(w *world) {
		w.shows("web", "10.0.0.1")
		w.shows("foreign", "10.0.0.1")
		w.shows("internal")
		if got := w.writes(); got != 1 {
			t.Errorf("%d writes, want that of web only", got)
		}
	})
}

func TestTheLaterServiceWaitsForThePortAndSaysSoOnce(t *testing.T) {
	inWorld(t, map[Port]string{tcp(6443): "the Kubernetes API"}, []runtime.Object{service("first", 3, "80"), aNode("a", "10.0.0.1")}, func(w *world) {
		w.said()
		w.change(service("second", 2, "80"))
		w.wants([]string{"Warning UnAvailableLoadBalancer", "TCP port 80 of node a is taken by Service default/first"})
		w.change(service("third", 1, "80"))
		w.wants([]string{"Warning UnAvailableLoadBalancer", "Service default/first"})
		w.change(service("api", 1, "6443"))
		w.wants([]string{"Warning UnAvailableLoadBalancer", "TCP port 6443 of node a is taken by the Kubernetes API"})
		w.shows("second")

		w.delete("first")
		w.shows("second", "10.0.0.1")
		w.shows("third")
		w.wants([]string{"Normal UpdatedLoadBalancer", "10.0.0.1"}, []string{"Warning", "Service default/second"})

		// Who changes to a port that is taken does not get it, however old.
		moved := w.get("second")
		setPorts(moved, "81")
		w.change(moved)
		w.shows("second", "10.0.0.1")
		w.shows("third", "10.0.0.1")
		moved = w.get("second")
		setPorts(moved, "80")
		w.change(moved)
		w.shows("second")
		w.shows("third", "10.0.0.1")

		internal := w.get("third")
		internal.Spec.Type, internal.Status = corev1.ServiceTypeClusterIP, corev1.ServiceStatus{} // by the API server
		w.change(internal)
		w.shows("second", "10.0.0.1")
	})
}

func TestAPodsHostPortIsWaitedFor(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "p"},
		Spec:       corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: 80}}}}},
	}
	inWorld(t, nil, []runtime.Object{pod, service("web", 1, "80"), aNode("a", "10.0.0.1")}, func(w *world) {
		w.wants([]string{"Warning", "TCP port 80 of node a is taken by Pod x/p"})
		w.shows("web")
		if err := w.client.CoreV1().Pods("x").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.shows("web", "10.0.0.1")
		w.change(pod)
		w.shows("web", "10.0.0.1") // who has it keeps it
	})
}

func TestLocalTrafficIsForNodesWithAReadyPod(t *testing.T) {
	slice := func(nodes map[string]bool) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
		}
		for node, ready := range nodes {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{"10.42.0.1"}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod"},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
		return s
	}
	web := service("web", 2, "80")
	web.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	objects := []runtime.Object{web, service("later", 1, "80"), aNode("a", "10.0.0.1"), aNode("b", "10.0.0.2"), slice(nil)}
	inWorld(t, nil, objects, func(w *world) {
		w.shows("web")
		w.wants([]string{"Warning", "Service default/web"}) // of later; web just has no pod yet
		w.change(slice(map[string]bool{"a": true, "b": false}))
		w.shows("web", "10.0.0.1")
		w.change(slice(map[string]bool{"a": true, "b": true}))
		w.shows("web", "10.0.0.1", "10.0.0.2")
		w.said()
		w.change(slice(nil))
		w.shows("web")
		w.wants([]string{"Warning UnAvailableLoadBalancer", "ready pod"})
		w.shows("later") // the port is web's all the same
		cluster := w.get("web")
		cluster.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		w.change(cluster)
		w.shows("web", "10.0.0.1", "10.0.0.2")
	})
}

func TestAFailedWriteIsTriedAgain(t *testing.T) {
	inWorld(t, nil, []runtime.Object{aNode("a", "10.0.0.1")}, func(w *world) {
		fail := true
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			return fail, nil, errors.New("the API is away")
		})
		w.change(service("web", 1, "80"))
		w.shows("web")
		w.wants()
		fail = false
		time.Sleep(retryMax)
		w.settle()
		w.shows("web", "10.0.0.1")
	})
}

func TestAConflictingWriteIsNotAFailure(t *testing.T) {
	inWorld(t, nil, []runtime.Object{aNode("a", "10.0.0.1")}, func(w *world) {
		conflicts := 1
		w.client.PrependReactor("patch", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			conflicts--
			return conflicts >= 0, nil, apierrors.NewConflict(schema.GroupResource{Resource: "services"}, "web", nil)
		})
		w.change(service("web", 1, "80"))
		w.change(w.get("web")) // the version that the conflict was about arrives
		w.shows("web", "10.0.0.1")
	})
}

func TestRemoveClearsOnlyWhatIsOurs(t *testing.T) {
	client := fake.NewClientset()
	ctx := t.Context()
	for name, by := range map[string]string{"ours": manager, "taken": manager, "theirs": "other", "pending": ""} {
		svc, err := client.CoreV1().Services("default").Create(ctx, service(name, 1, "80"), metav1.CreateOptions{FieldManager: "user"})
		if err != nil {
			t.Fatal(err)
		}
		switch by {
		case manager:
			err = patch(ctx, client, svc, []string{"10.0.0.1"})
		case "other":
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}
			_, err = client.CoreV1().Services("default").UpdateStatus(ctx, svc, metav1.UpdateOptions{FieldManager: by})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	svc, err := client.CoreV1().Services("default").Get(ctx, "taken", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
	if _, err := client.CoreV1().Services("default").UpdateStatus(ctx, svc, metav1.UpdateOptions{FieldManager: "other"}); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	for range 2 { // the second time there is nothing left to do
		if err := Remove(ctx, client); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, client: client}
	if got := w.writes(); got != 1 {
		t.Errorf("%d writes, want one", got)
	}
	w.shows("ours")
	w.shows("taken", "192.0.2.7")
	w.shows("theirs", "10.0.0.1")
}

// What Run needs of an event's recorder is more than FakeRecorder: references are made.
func TestRunTellsTheUserByEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(service("web", 1, "80"), aNode("a", "10.0.0.1"))
		factory := informers.NewSharedInformerFactory(client, 0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Options{Client: client, Factory: factory, Log: slog.New(slog.DiscardHandler)})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		list, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Source.Component != component || list.Items[0].InvolvedObject.Name != "web" || list.Items[0].Reason != reasonUpdated {
			t.Errorf("events = %+v, want one about web", list.Items)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		factory.Shutdown()
		synctest.Wait()
	})
}
