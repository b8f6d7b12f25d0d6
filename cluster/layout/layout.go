// Package layout says where the node process keeps its files. The places are k3s's, so
// that what people know, and have scripted, works here.
package layout

import (
	"path/filepath"

	"github.com/keelson-os/keelson/config"
)

// Layout is the set of root folders; every other path derives from them.
// The zero value is not useful: start with Default.
type Layout struct {
	Data    string // on the state partition
	Run     string // sockets and what a reboot may lose
	Etc     string // what people read: the admin kubeconfig
	Kubelet string // kubelet's root
	Logs    string // container logs
	CNIBin  string // CNI plugins
	Images  string // OCI archives of the root filesystem, read-only
	Hosts   string // the file /etc/hosts links to
	Resolv  string // the file /etc/resolv.conf links to
}

// Default is the layout of a Keelson node.
func Default() Layout {
	return Layout{
		Data:    config.StateDir + "/k3s",
		Run:     "/run/k3s",
		Etc:     "/etc/rancher/k3s",
		Kubelet: "/var/lib/kubelet",
		Logs:    "/var/log",
		CNIBin:  config.CNIBinDir,
		Images:  config.SystemImages,
		Hosts:   config.HostsFile,
		Resolv:  config.ResolvFile,
	}
}

// ServerTLS holds the CAs and the control plane's certificates.
func (l Layout) ServerTLS() string { return filepath.Join(l.Data, "server", "tls") }

// ServerCred holds the control plane's kubeconfigs and configuration files.
func (l Layout) ServerCred() string { return filepath.Join(l.Data, "server", "cred") }

// ServerDB holds the datastore.
func (l Layout) ServerDB() string { return filepath.Join(l.Data, "server", "db") }

// Server is the parent of everything only a server has.
func (l Layout) Server() string { return filepath.Join(l.Data, "server") }

// Agent holds the node's own certificates and kubeconfigs.
func (l Layout) Agent() string { return filepath.Join(l.Data, "agent") }

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Etc, "k3s.yaml") }

// DatastoreSocket is where the datastore listens.
func (l Layout) DatastoreSocket() string { return filepath.Join(l.Run, "server", "kine.sock") }

// ContainerdRoot holds images, snapshots and containerd's metadata.
func (l Layout) ContainerdRoot() string { return filepath.Join(l.Data, "agent", "containerd") }

// ContainerdState holds what containerd and its shims need until the next boot.
func (l Layout) ContainerdState() string { return filepath.Join(l.Run, "containerd") }

// ContainerdSocket is containerd's gRPC socket, the CRI's too.
func (l Layout) ContainerdSocket() string {
	return filepath.Join(l.Run, "containerd", "containerd.sock")
}

// RegistryConfig holds containerd's registry hosts (certs.d).
func (l Layout) RegistryConfig() string {
	return filepath.Join(l.Data, "agent", "etc", "containerd", "certs.d")
}

// CNIConf is the folder in which the CNI configuration appears once pods can have addresses.
func (l Layout) CNIConf() string { return filepath.Join(l.Data, "agent", "etc", "cni", "net.d") }

// AgentImages is where users put archives to import.
func (l Layout) AgentImages() string { return filepath.Join(l.Data, "agent", "images") }
