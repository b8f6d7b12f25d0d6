// Package upgrade acts on Upgrade objects (keelson.dev/v1alpha1): it brings a bundle to the
// nodes that they select, one after the other, through each node's machine API.
//
//	Pending ─▶ Preparing ─▶ Draining ─▶ Applying ─▶ Rebooting ─▶ Done
//	   │           │            │           │           ├──────▶ RolledBack
//	   └▶ Skipped  └────────────┴───────────┴───────────┴──────▶ Failed
//
// Preparing waits for a node that is Ready and reads what it runs; it is cordoned unless no
// other node could take its pods. Draining evicts the pods, so that PodDisruptionBudgets
// count, and is bounded. Applying has the node's machine API check the bundle (signature,
// board, serial, version of Kubernetes), write it to the other slot and arm a trial; what it
// refuses, it refuses before it writes. Rebooting lasts until the machine API says of that
// very attempt that it is good or rolled back, and the Node is Ready again.
//
// Every phase is in the object's status before it is acted on, so that a node process that
// starts again, as it does when it upgrades its own machine, goes on where it was. A phase may
// be entered twice; each looks first at what is there already.
//
// Nodes of the control plane come first and one at a time: a kubelet must not be newer than
// its API server. At the first node that fails or rolls back no further one is begun. A node
// that is under way is always finished, also when the window closes, the Upgrade is paused,
// changed or deleted; a drain alone is broken off for that.
//
// An Upgrade whose nodes are done is not looked at again until its spec changes. Nodes that
// were done with the same bundle are left alone then, others are tried again. Of several
// Upgrades one is acted on at a time.
//
// It takes one node process with this component in the cluster: there is no leader election,
// as there is one server.
package upgrade
