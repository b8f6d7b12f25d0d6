// Package metrics is k3s's packaged metrics-server, inside the node process: the API group
// metrics.k8s.io, with which "kubectl top" and horizontal pod autoscalers learn how much
// CPU and memory nodes and pods use.
//
//	kubectl, HPA ──▶ API server ──aggregation──▶ Run ◀──/metrics/resource── kubelets
//
// The objects that lead the API server here are packaged manifests (overlays/manifests/
// metrics-server): an APIService, a Service without a selector, and an EndpointSlice that
// names an address which every node has and no other machine sees. So each API server asks
// the metrics server of its own process, with the cable unplugged too, provided that it
// routes to endpoints instead of cluster IPs (enable-aggregator-routing).
//
// Upstream's own server is not used, but its parts are: it would keep every Node a second
// time, hold on to what no answer needs of each Pod, and ask the kubelets every 15 s whether
// or not anybody is interested (see collector).
package metrics
