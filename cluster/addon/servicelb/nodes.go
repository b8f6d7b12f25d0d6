package servicelb

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Labels of k3s.
const (
	labelEnable = "svccontroller.k3s.cattle.io/enablelb" // of nodes
	labelPool   = "svccontroller.k3s.cattle.io/lbpool"   // of nodes and Services
)

// selecting reports whether labels choose the nodes: any value of the label will do.
func selecting(nodes []*corev1.Node) bool {
	return slices.ContainsFunc(nodes, func(n *corev1.Node) bool {
		_, ok := n.Labels[labelEnable]
		return ok
	})
}

// admits reports whether labels let the Service be served by the node. Pools count only
// while labels choose the nodes, as in k3s.
func admits(svc *corev1.Service, node *corev1.Node, selecting bool) bool {
	if _, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]; excluded || node.DeletionTimestamp != nil {
		return false
	}
	if !selecting {
		return true
	}
	pool := svc.Labels[labelPool]
	return node.Labels[labelEnable] == "true" && (pool == "" || node.Labels[labelPool] == pool)
}

// repels reports whether a taint with one of the effects keeps a svclb pod away. What is
// tolerated are k3s's tolerations and those that the DaemonSet controller adds; that a node
// is not ready or unreachable is for ready to say.
func repels(node *corev1.Node, effects ...corev1.TaintEffect) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		if !slices.Contains(effects, t.Effect) {
			return false
		}
		switch t.Key {
		case "CriticalAddonsOnly", corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
			return false
		case "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master",
			corev1.TaintNodeUnschedulable, corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure:
			return t.Effect != corev1.TaintEffectNoSchedule
		}
		return true
	})
}

// ready reports the node's condition Ready.
func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// addresses are what the Service shows when these nodes serve it: sorted within each of
// its families, without duplicates.
func addresses(svc *corev1.Service, nodes []*corev1.Node) []string {
	byType := map[corev1.NodeAddressType][]netip.Addr{}
	for _, node := range nodes {
		for _, a := range node.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil { // host names and the like
				byType[a.Type] = append(byType[a.Type], addr.Unmap())
			}
		}
	}
	from := byType[corev1.NodeExternalIP]
	if len(from) == 0 {
		from = byType[corev1.NodeInternalIP]
	}
	slices.SortFunc(from, netip.Addr.Compare)
	from = slices.Compact(from)
	var list []string
	for _, family := range svc.Spec.IPFamilies {
		for _, addr := range from {
			if addr.Is4() == (family == corev1.IPv4Protocol) {
				list = append(list, addr.String())
			}
		}
	}
	return list
}
