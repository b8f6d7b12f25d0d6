// Package servicelb gives Services of type LoadBalancer the addresses of the nodes, as
// k3s's ServiceLB does, but without its svclb pods: kube-proxy itself takes what comes for
// an address and port that a Service's status names, from outside, from pods and from the
// node, and keeps to externalTrafficPolicy and loadBalancerSourceRanges.
//
// What a user sees is what the svclb DaemonSets would show (k3s, pkg/cloudprovider):
//
//   - A Service with a loadBalancerClass belongs to somebody else. k3s has no class.
//   - A Service needs all of its ports on a node, as the svclb pod needs its hostPorts. What
//     the node, a pod's hostPort or another Service has is taken; who has it keeps it, and at
//     the same moment the oldest gets it.
//   - If a node has the label svccontroller.k3s.cattle.io/enablelb, only nodes where it is
//     "true" serve, and of those only the ones in the pool that the Service's label
//     svccontroller.k3s.cattle.io/lbpool names.
//   - Taints count as for a DaemonSet: NoExecute ends serving, NoSchedule keeps from
//     beginning, and those of control planes and CriticalAddonsOnly are tolerated.
//   - A node serves while it is Ready; with externalTrafficPolicy Local while it has a ready
//     pod of the Service. Endpoints do not matter otherwise.
//   - Where a serving node has an ExternalIP only ExternalIPs are shown, else InternalIPs,
//     in the order of the Service's ipFamilies.
//
// Unlike k3s, the label node.kubernetes.io/exclude-from-external-load-balancers is heeded,
// and the ports of the node itself cannot be taken.
//
// Conflicts concern all Services, so every change computes all of them anew:
//
//	Services, Nodes, hostPorts ──assign──▶ nodes of each Service ──Ready, endpoints──▶ status
//
// Nothing else is written: who holds which port is in memory, and after a start is read
// from the statuses. The API server clears the status when a Service's type changes and
// lets nobody change the class of a LoadBalancer, so no address of ours is left behind.
package servicelb
