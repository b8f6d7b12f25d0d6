// Package cluster is the Kubernetes node: all of upstream's parts in one process. Each
// part has a package of its own below this one; here they are only put in order.
//
//	credentials ─ address ─┬─ datastore ─ apiserver ─┬─ controller-manager ─┐
//	                       │                         ├─ scheduler           ├─ kubelet ─ node
//	                       └─ containerd ─ images ───┴──────────────────────┘
package cluster
