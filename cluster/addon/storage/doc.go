// Package storage makes and removes the volumes of the StorageClass local-path: folders of
// the node, as rancher/local-path-provisioner does in k3s, but in the node's own process
// and without helper pods.
//
// Names, parameters, annotations and the ConfigMap kube-system/local-path-config are those
// of that project (its README, v0.0.37). Each node works for itself only: the scheduler
// writes the chosen node on a claim, and the volume carries the node that made it.
//
//	claim, bound to this node ──▶ folder BASE/pvc-UID_NAMESPACE_CLAIM, 0777 ──▶ PersistentVolume
//	volume, Released, Delete  ──▶ path rule ──▶ folder removed ──▶ PersistentVolume deleted
//
// A PersistentVolume is an object that somebody can write by hand, so its path is
// evidence and not an order. A folder is removed only if
//
//   - it lies below a folder that the ConfigMap, or the node's configuration, names,
//   - it has the name that this package gives to the volume's folder,
//   - no other volume of the node is in it or around it,
//   - neither it nor a folder above it, up to the base, is a symbolic link,
//   - nothing is mounted on it or below it.
//
// Everything else is refused with an event on the volume.
//
// sigs.k8s.io/sig-storage-lib-external-provisioner, which upstream is built on, is not
// used: version 13 registers types in client-go's global scheme whenever a controller is
// made, which is a map write beside the reads of every client of this process; it ends the
// process where it could return an error; and it wakes up ten times a second. Its
// annotations and events are kept.
//
// Not run, because a node has no shell: the scripts setup and teardown, setupCommand,
// teardownCommand and helperPod.yaml. An event on the ConfigMap says so. With them go
// userPattern, groupPattern and permPattern, which only such scripts read.
package storage
