package servicelb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// slot is a port of one node. It belongs to one Service at most.
type slot struct {
	node string
	port Port
}

// conflict is why a node does not serve a Service.
type conflict struct {
	slot
	holder string // "Service default/web"
}

func (c conflict) String() string {
	return fmt.Sprintf("%s of node %s is taken by %s", c.port, c.node, c.holder)
}

// placement is where a Service is.
type placement struct {
	nodes     []*corev1.Node // that keep its ports for it, whether they are Ready or not
	conflicts []conflict     // one for each node that would serve it but for a port
}

// blocked reports whether taken ports are all that keeps the Service pending.
func (p placement) blocked() bool { return len(p.nodes) == 0 && len(p.conflicts) > 0 }

// conflictsShown bounds an event's text.
const conflictsShown = 5

// why tells the conflicts.
func (p placement) why() string {
	var parts []string
	for i, c := range p.conflicts {
		if i == conflictsShown {
			parts = append(parts, fmt.Sprintf("and %d more nodes", len(p.conflicts)-i))
			break
		}
		parts = append(parts, c.String())
	}
	return strings.Join(parts, "; ")
}

// situation is all that decides who gets which port.
type situation struct {
	services []*corev1.Service // those that are ours
	nodes    []*corev1.Node
	reserved map[Port]string
	pods     map[slot]string    // hostPorts
	held     map[slot]types.UID // by Services until now
}

// assign decides for all Services, and returns which slots they hold from now on.
// It sorts the situation's slices.
//
// First, who has all its ports on a node keeps them: a younger Service that was there
// before an older one changed its ports, and one that serves on while a pod with the same
// hostPort comes. Then the others get what is free, the oldest first.
func (s situation) assign() (map[types.UID]placement, map[slot]types.UID) {
	slices.SortFunc(s.services, older)
	slices.SortFunc(s.nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	selecting := selecting(s.nodes)
	placements, holds, names := map[types.UID]placement{}, map[slot]types.UID{}, map[types.UID]string{}
	place := func(svc *corev1.Service, node *corev1.Node) {
		p := placements[svc.UID]
		p.nodes = append(p.nodes, node)
		placements[svc.UID] = p
		for _, port := range ports(svc) {
			holds[slot{node.Name, port}] = svc.UID
		}
	}
	for _, svc := range s.services {
		names[svc.UID] = fmt.Sprintf("Service %s/%s", svc.Namespace, svc.Name)
		for _, node := range s.nodes {
			if admits(svc, node, selecting) && !repels(node, corev1.TaintEffectNoExecute) && s.keeps(svc, node) {
				place(svc, node)
			}
		}
	}
	for _, svc := range s.services {
	nodes:
		for _, node := range s.nodes {
			if !admits(svc, node, selecting) || repels(node, corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule) ||
				slices.Contains(placements[svc.UID].nodes, node) {
				continue
			}
			for _, port := range ports(svc) {
				at := slot{node.Name, port}
				if holder := cmp.Or(s.reserved[port], names[holds[at]], s.pods[at]); holder != "" {
					p := placements[svc.UID]
					p.conflicts = append(p.conflicts, conflict{at, holder})
					placements[svc.UID] = p
					continue nodes
				}
			}
			place(svc, node)
		}
	}
	return placements, holds
}

// keeps reports whether the Service has all its ports on the node already.
func (s situation) keeps(svc *corev1.Service, node *corev1.Node) bool {
	for _, port := range ports(svc) {
		holder, ok := s.held[slot{node.Name, port}]
		if _, reserved := s.reserved[port]; reserved || !ok || holder != svc.UID {
			return false
		}
	}
	return true
}

// heldByStatus is what Services hold by the addresses in their status: what a former
// process gave them.
func heldByStatus(services []*corev1.Service, nodes []*corev1.Node) map[slot]types.UID {
	owner := map[string][]string{} // address to names of nodes
	for _, node := range nodes {
		for _, a := range node.Status.Addresses {
			owner[a.Address] = append(owner[a.Address], node.Name)
		}
	}
	held := map[slot]types.UID{}
	for _, svc := range slices.SortedFunc(slices.Values(services), older) {
		on := map[string]bool{}
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			for _, node := range owner[ingress.IP] {
				on[node] = true
			}
		}
		for node := range on {
			for _, port := range ports(svc) {
				if _, ok := held[slot{node, port}]; !ok {
					held[slot{node, port}] = svc.UID
				}
			}
		}
	}
	return held
}

// ports of a Service, as the node has them.
func ports(svc *corev1.Service) []Port {
	list := make([]Port, len(svc.Spec.Ports))
	for i, p := range svc.Spec.Ports {
		list[i] = Port{orTCP(p.Protocol), p.Port}
	}
	return list
}

// older orders Services by age, then by name: the API's times are whole seconds.
func older(a, b *corev1.Service) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), compareNames(a, b))
}

func compareNames(a, b metav1.Object) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}
