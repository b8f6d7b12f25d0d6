// Package manifest applies what lies in k3s's auto-deploy folder
// (/var/lib/rancher/k3s/server/manifests) to the cluster: .yaml, .yml and .json files, in
// subfolders too, when the node starts and whenever a file changes.
//
// A file NAME.skip beside a file NAME keeps it from being applied. Objects are applied by
// server-side apply under one field manager, so that what others set on them stays.
// Objects that leave a file stay in the cluster.
package manifest
