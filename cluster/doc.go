// Package cluster is the Kubernetes node: all of upstream's parts in one process. Each
// part has a package of its own below this one; here they are only put in order.
//
//	address ── credentials ─┐
//	datastore ──────────────┴─ apiserver ─┬─ rights ── network
//	                                      ├─ endpoints, scheduler, proxy
//	                                      └─ controller-manager ─┬─ manifests
//	containerd ── images ────────────────────────────────────────┴─ kubelet ── node
//
// What stands to the left must be ready before what is to its right starts; the network
// needs containerd too. Once all are ready, PID 1 is told so. components.go is the list.
package cluster
