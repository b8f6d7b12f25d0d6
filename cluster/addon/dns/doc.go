// Package dns is the cluster's DNS: CoreDNS as a library, in every node's process.
//
//	pod ──10.43.0.10:53──▶ kube-proxy ──internalTrafficPolicy: Local──▶ this node:10053
//	                                                                       │
//	 ConfigMap coredns         NodeHosts ──────────────┐                   ▼
//	 ConfigMap coredns-custom  *.override, *.server ───┼──▶ Corefile ──▶ CoreDNS
//	 resolv.conf               name servers ───────────┘                   ▲
//	 API server                Services, EndpointSlices, Namespaces ───────┘
//
// It listens on the wildcard address, because the node's own can change at any time, and
// answers only the cluster: see guard. Its port is not 53, which stays free for a DNS server
// that the user runs on the host's network.
//
// The Corefile is made anew, and CoreDNS restarted within the process, when one of its
// sources changes. The sockets are handed over, so no question is lost, and the caches of the
// API's objects are kept (see cluster). A custom configuration that CoreDNS refuses is
// reported as an Event of its ConfigMap, and what was served before is served on.
//
// What CoreDNS and caddy keep in package variables (the registered plugins, their order, the
// standard logger's output) is set once per process: see register.
package dns
