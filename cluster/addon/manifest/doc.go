// Package manifest applies what lies in k3s's auto-deploy folder
// (/var/lib/rancher/k3s/server/manifests) to the cluster: .yaml, .yml and .json files, in
// subfolders too, when the node starts and whenever a file changes.
//
// Each file has an Addon (addons.k3s.cattle.io) in kube-system, named for the file up to its
// first dot, which carries the file's events and the inventory of what the file put into the
// cluster:
//
//	metadata.annotations  addon.k3s.cattle.io/gvks: the kinds in the file, as k3s writes it
//	spec.source           the file's path
//	spec.checksum         SHA-256, hex, of the file that was last applied without a fault
//	status.objects        apiVersion, kind and names ("namespace/name" or "name") of every object
//
// The inventory is written before the objects are, so that a power cut orphans nothing.
// Objects are applied by server-side apply under one field manager, so that what others set on
// them stays and what is unchanged writes nothing. They bear k3s's objectset.rio.cattle.io marks.
//
//	in the file before, not now       the object is deleted, if it still is ours
//	in another file                   it is that file's; of two files the later path has it
//	the file is removed, or .skip     its objects and its Addon stay, as in k3s
//	the file is disabled              objects, file and Addon are deleted
//
// A file is read when it has been left alone for two seconds, and the others wait for it: one
// that is half written looks as if objects had left it.
//
// An object is ours while its marks name our Addon and our field manager sets some of it.
// objectset.rio.cattle.io/prune: "false" keeps an object that left its file.
//
// Different from k3s: files of equal names in different folders have Addons of their own (the
// later one's name starts with its folder's), names that no object may have are changed
// instead of refused, and one faulty object does not hold up the file's others.
package manifest
