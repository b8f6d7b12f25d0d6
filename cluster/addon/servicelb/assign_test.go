package servicelb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// service makes one of ours: age is in seconds, ports are like "80" and "53/UDP".
func service(name string, age int, ports ...string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{},
			CreationTimestamp: metav1.NewTime(time.Unix(1_800_000_000-int64(age), 0)),
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	setPorts(svc, ports...)
	return svc
}

func setPorts(svc *corev1.Service, ports ...string) {
	svc.Spec.Ports = nil
	for _, p := range ports {
		p := corev1.ServicePort{Name: p}
		protocol := "TCP"
		if _, err := fmt.Sscanf(strings.ReplaceAll(p.Name, "/", " ")+" TCP", "%d %s", &p.Port, &protocol); err != nil {
			panic(err)
		}
		p.Protocol = corev1.Protocol(protocol)
		svc.Spec.Ports = append(svc.Spec.Ports, p)
	}
}

// aNode makes a Ready node; labels are like "a=b".
func aNode(name, internalIP string, labels ...string) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: internalIP}, {Type: corev1.NodeHostName, Address: name}},
		},
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		n.Labels[k] = v
	}
	return n
}

func tainted(n *corev1.Node, key string, effect corev1.TaintEffect) *corev1.Node {
	n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect})
	return n
}

func labelled(svc *corev1.Service, key, value string) *corev1.Service {
	svc.Labels[key] = value
	return svc
}

func tcp(n int32) Port { return Port{corev1.ProtocolTCP, n} }

func TestAssign(t *testing.T) {
	cases := map[string]struct {
		situation
		want map[string]string // name of the Service to "nodes" or "nodes | conflicts"
	}{
		"the oldest gets the port": {
			situation{services: []*corev1.Service{service("young", 1, "80"), service("old", 2, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")}},
			map[string]string{"old": "a", "young": " | TCP port 80 of node a is taken by Service default/old"},
		},
		"of the same age the first by name gets it": {
			situation{services: []*corev1.Service{service("y", 1, "80"), service("x", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")}},
			map[string]string{"x": "a", "y": " | TCP port 80 of node a is taken by Service default/x"},
		},
		"protocols do not conflict": {
			situation{services: []*corev1.Service{service("t", 2, "53"), service("u", 1, "53/UDP")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")}},
			map[string]string{"t": "a", "u": "a"},
		},
		"a Service needs all its ports and holds none otherwise": {
			situation{
				services: []*corev1.Service{service("one", 3, "80"), service("two", 2, "443", "80"), service("three", 1, "443")},
				nodes:    []*corev1.Node{aNode("a", "10.0.0.1")},
			},
			map[string]string{"one": "a", "two": " | TCP port 80 of node a is taken by Service default/one", "three": "a"},
		},
		"who has a port keeps it from an older one": {
			situation{
				services: []*corev1.Service{service("old", 2, "80"), service("young", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")},
				held: map[slot]types.UID{{"a", tcp(80)}: "uid-young"},
			},
			map[string]string{"young": "a", "old": " | TCP port 80 of node a is taken by Service default/young"},
		},
		"who holds a port only of its former ports keeps nothing": {
			situation{
				services: []*corev1.Service{service("old", 2, "80"), service("young", 1, "80", "81")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")},
				held: map[slot]types.UID{{"a", tcp(80)}: "uid-young"},
			},
			map[string]string{"old": "a", "young": " | TCP port 80 of node a is taken by Service default/old"},
		},
		"a port that is gone from a Service is free": {
			situation{
				services: []*corev1.Service{service("old", 2, "81"), service("young", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")},
				held: map[slot]types.UID{{"a", tcp(80)}: "uid-old"},
			},
			map[string]string{"old": "a", "young": "a"},
		},
		"the node's own ports": {
			situation{
				services: []*corev1.Service{service("api", 1, "6443")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")},
				reserved: map[Port]string{tcp(6443): "the Kubernetes API"},
				held:     map[slot]types.UID{{"a", tcp(6443)}: "uid-api"},
			},
			map[string]string{"api": " | TCP port 6443 of node a is taken by the Kubernetes API"},
		},
		"hostPorts take the node, not the others": {
			situation{
				services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1"), aNode("b", "10.0.0.2")},
				pods: map[slot]string{{"a", tcp(80)}: "Pod default/p"},
			},
			map[string]string{"web": "b | TCP port 80 of node a is taken by Pod default/p"},
		},
		"a hostPort that comes later takes nothing": {
			situation{
				services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1")},
				pods: map[slot]string{{"a", tcp(80)}: "Pod default/p"}, held: map[slot]types.UID{{"a", tcp(80)}: "uid-web"},
			},
			map[string]string{"web": "a"},
		},
		"nodes without the label serve while no node has it": {
			situation{services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("b", "10.0.0.2"), aNode("a", "10.0.0.1")}},
			map[string]string{"web": "a b"},
		},
		"enablelb=true chooses": {
			situation{services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1"), aNode("b", "10.0.0.2", labelEnable+"=true")}},
			map[string]string{"web": "b"},
		},
		"enablelb=false alone leaves none, as in k3s": {
			situation{services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1"), aNode("b", "10.0.0.2", labelEnable+"=false")}},
			map[string]string{"web": ""},
		},
		"pools": {
			situation{
				services: []*corev1.Service{labelled(service("red", 3, "80"), labelPool, "red"), labelled(service("blue", 2, "80"), labelPool, "blue"), service("any", 1, "81")},
				nodes: []*corev1.Node{
					aNode("a", "10.0.0.1", labelEnable+"=true", labelPool+"=red"), aNode("b", "10.0.0.2", labelEnable+"=true", labelPool+"=blue"),
					aNode("c", "10.0.0.3", labelPool+"=red"),
				},
			},
			map[string]string{"red": "a", "blue": "b", "any": "a b"},
		},
		"pools without enablelb are not looked at, as in k3s": {
			situation{services: []*corev1.Service{labelled(service("red", 3, "80"), labelPool, "red")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1", labelPool+"=blue")}},
			map[string]string{"red": "a"},
		},
		"excluded nodes": {
			situation{services: []*corev1.Service{service("web", 1, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1", corev1.LabelNodeExcludeBalancers+"="), aNode("b", "10.0.0.2")}},
			map[string]string{"web": "b"},
		},
		"taints": {
			situation{
				services: []*corev1.Service{service("web", 1, "80"), service("new", 0, "81")},
				nodes: []*corev1.Node{
					tainted(aNode("a", "10.0.0.1"), "dedicated", corev1.TaintEffectNoSchedule), // web is there already
					tainted(aNode("b", "10.0.0.2"), "dedicated", corev1.TaintEffectNoExecute),
					tainted(aNode("c", "10.0.0.3"), "CriticalAddonsOnly", corev1.TaintEffectNoExecute),
					tainted(aNode("d", "10.0.0.4"), "node-role.kubernetes.io/control-plane", corev1.TaintEffectNoSchedule),
					tainted(aNode("e", "10.0.0.5"), corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), // cordoned
					tainted(aNode("f", "10.0.0.6"), "dedicated", corev1.TaintEffectPreferNoSchedule),
					tainted(aNode("g", "10.0.0.7"), "node-role.kubernetes.io/control-plane", corev1.TaintEffectNoExecute),
				},
				held: map[slot]types.UID{{"a", tcp(80)}: "uid-web", {"b", tcp(80)}: "uid-web"},
			},
			map[string]string{"web": "a c d e f", "new": "c d e f"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, held := c.assign()
			for _, svc := range c.services {
				p := got[svc.UID]
				var nodes []string
				for _, n := range p.nodes {
					nodes = append(nodes, n.Name)
					for _, port := range ports(svc) {
						if holder := held[slot{n.Name, port}]; holder != svc.UID {
							t.Errorf("%s of node %s is held by %q, want %q", port, n.Name, holder, svc.UID)
						}
					}
				}
				have := strings.Join(nodes, " ")
				if len(p.conflicts) > 0 {
					have += " | " + p.why()
				}
				if have != c.want[svc.Name] {
					t.Errorf("assign gives %s %q, want %q", svc.Name, have, c.want[svc.Name])
				}
			}
			// What is assigned stays.
			c.held = held
			again, _ := c.assign()
			for uid, p := range got {
				if !slices.Equal(p.nodes, again[uid].nodes) {
					t.Errorf("%s moved without a reason", uid)
				}
			}
		})
	}
}

func TestWhyIsBounded(t *testing.T) {
	var p placement
	for i := range 100 {
		p.conflicts = append(p.conflicts, conflict{slot{fmt.Sprint("node", i), tcp(80)}, "Service default/x"})
	}
	if got := p.why(); !strings.HasSuffix(got, "; and 95 more nodes") || len(got) > 500 {
		t.Errorf("why of 100 conflicts = %q", got)
	}
}

func TestHeldByStatusReadsWhatAFormerProcessGave(t *testing.T) {
	young := service("young", 1, "80")
	young.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}, {IP: "192.0.2.1"}, {Hostname: "a"}}
	s := situation{services: []*corev1.Service{young, service("old", 2, "80")}, nodes: []*corev1.Node{aNode("a", "10.0.0.1"), aNode("b", "10.0.0.2")}}
	s.held = heldByStatus(s.services, s.nodes)
	got, _ := s.assign()
	if n := got["uid-young"].nodes; len(n) != 1 || n[0].Name != "a" {
		t.Errorf("young has %d nodes, want a", len(n))
	}
	if n := got["uid-old"].nodes; len(n) != 1 || n[0].Name != "b" {
		t.Errorf("old has %d nodes, want b", len(n))
	}
}

func TestAddresses(t *testing.T) {
	with := func(name string, addrs ...string) *corev1.Node {
		n := aNode(name, "")
		n.Status.Addresses = nil
		for _, a := range addrs {
			kind, addr, _ := strings.Cut(a, "=")
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: addr})
		}
		return n
	}
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	cases := map[string]struct {
		families []corev1.IPFamily
		nodes    []*corev1.Node
		want     []string
	}{
		"internal, sorted as numbers, once": {[]corev1.IPFamily{v4}, []*corev1.Node{with("a", "InternalIP=10.0.0.10", "Hostname=a"), with("b", "InternalIP=10.0.0.9", "InternalIP=10.0.0.10")}, []string{"10.0.0.9", "10.0.0.10"}},
		"one external hides all internal":   {[]corev1.IPFamily{v4}, []*corev1.Node{with("a", "InternalIP=10.0.0.1"), with("b", "InternalIP=10.0.0.2", "ExternalIP=192.0.2.2")}, []string{"192.0.2.2"}},
		"IPv6 only where the Service is":    {[]corev1.IPFamily{v4}, []*corev1.Node{with("a", "InternalIP=10.0.0.1", "InternalIP=2001:db8::1")}, []string{"10.0.0.1"}},
		"families in the Service's order":   {[]corev1.IPFamily{v6, v4}, []*corev1.Node{with("a", "InternalIP=10.0.0.1", "InternalIP=2001:db8::1")}, []string{"2001:db8::1", "10.0.0.1"}},
		"no node":                           {[]corev1.IPFamily{v4}, nil, nil},
		"what is no address":                {[]corev1.IPFamily{v4}, []*corev1.Node{with("a", "ExternalIP=a.example", "InternalIP=10.0.0.1")}, []string{"10.0.0.1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			svc := service("web", 0, "80")
			svc.Spec.IPFamilies = c.families
			if got := addresses(svc, c.nodes); !slices.Equal(got, c.want) {
				t.Errorf("addresses = %q, want %q", got, c.want)
			}
		})
	}
}

func TestOnlyHostPortsOfPodsAreKept(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "p", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{
			NodeName: "a", Volumes: []corev1.Volume{{Name: "v"}},
			InitContainers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 9, HostPort: 9}}}},
			Containers: []corev1.Container{
				{Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 81, HostPort: 8081}}},
				{Ports: []corev1.ContainerPort{{ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP}}},
			},
		},
	}
	once, err := onlyHostPorts(pod)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := onlyHostPorts(once)
	if err != nil {
		t.Fatal(err)
	}
	small := twice.(*corev1.Pod)
	if small.Labels != nil || small.Spec.Volumes != nil || small.Spec.Containers[0].Image != "" {
		t.Errorf("the pod has more than its hostPorts: %+v", small)
	}
	got := taken([]*corev1.Pod{small})
	for _, want := range []slot{{"a", tcp(9)}, {"a", tcp(8081)}, {"a", Port{corev1.ProtocolUDP, 53}}} {
		if got[want] != "Pod x/p" {
			t.Errorf("%v is taken by %q, want Pod x/p", want, got[want])
		}
	}
	if len(got) != 3 {
		t.Errorf("taken = %v, want three", got)
	}
	small.Status.Phase = corev1.PodSucceeded
	if got := taken([]*corev1.Pod{small}); len(got) != 0 {
		t.Errorf("a pod that has ended takes %v", got)
	}
}
