package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Why keys of k3s are refused. Each says what to do.
const (
	whyDatastore = "the datastore is always sqlite; remove the line"
	whyEtcd      = "there is no etcd, the datastore is always sqlite; remove the line, and back up /var/lib/rancher/k3s/server/db"
	whyJoin      = "joining nodes is not supported yet; remove the line: one node is a whole cluster"
	whyRuntime   = "the container runtime is part of the system and always containerd with runc and overlayfs; remove the line"
	whyNetwork   = "flannel is part of the system; remove the line, or bring your own network with flannel-backend: none"
	whyPart      = "the control plane runs as a whole in one process; remove the line"
	whySecrets   = "secrets are not encrypted in the datastore yet; remove the line"
	whyLogs      = "a node logs to /var/log/keelson; for more of one component write v=4 below kubelet-arg, kube-apiserver-arg and the like"
	whyPaths     = "the places of files on a node are fixed; remove the line"
	whyTokens    = "the tokens are in secrets.yaml, which \"keelson config new\" makes; remove the line, or write the token itself below token"
	whyCloud     = "there is no cloud controller: the node knows its addresses itself; remove the line"
	whyImages    = "no component pulls an image; to take your own images from elsewhere write registries: with mirrors"
	whySystem    = "the system is read-only and set up by Keelson; remove the line"
	whyOld       = "k3s itself gave it up; remove the line"
)

// refusals are the keys of k3s's config.yaml that this version does not support: every
// other flag of "k3s server" and "k3s agent", deprecated and hidden ones included, each
// with the reason. They are refused by name, apart from misspelt ones, so that nobody
// takes an ignored setting for an effective one.
// Source: k3s pkg/cli/cmds/server.go, agent.go, root.go and log.go; docs.k3s.io/cli/server
// and /agent.
var refusals = map[string]string{
	"agent-token":                       whyTokens,
	"agent-token-file":                  whyTokens,
	"airgap-extra-registry":             whyImages,
	"alsologtostderr":                   whyLogs,
	"apiserver-bind-address":            "write bind-address",
	"apiserver-port":                    "write https-listen-port",
	"cluster-init":                      whyEtcd,
	"cluster-reset":                     whyEtcd,
	"cluster-reset-restore-path":        whyEtcd,
	"cluster-secret":                    whyTokens,
	"config":                            "this file is the configuration; remove the line",
	"container-runtime-endpoint":        whyRuntime,
	"data-dir":                          whyPaths,
	"datastore-cafile":                  whyDatastore,
	"datastore-certfile":                whyDatastore,
	"datastore-endpoint":                whyDatastore,
	"datastore-keyfile":                 whyDatastore,
	"debug":                             whyLogs,
	"default-runtime":                   whyRuntime,
	"disable-agent":                     "a server always runs pods; remove the line, or keep pods off with node-taint: [node-role.kubernetes.io/control-plane=true:NoSchedule]",
	"disable-apiserver":                 whyPart,
	"disable-apiserver-lb":              whyJoin,
	"disable-cloud-controller":          whyCloud,
	"disable-controller-manager":        whyPart,
	"disable-etcd":                      whyEtcd,
	"disable-kube-proxy":                "kube-proxy is part of the system; remove the line",
	"disable-network-policy":            "there is no network policy controller yet: NetworkPolicies are not enforced; remove the line or write true",
	"disable-scheduler":                 whyPart,
	"disable-selinux":                   whySystem,
	"docker":                            whyRuntime,
	"egress-selector-mode":              "the API server reaches its one node directly; remove the line",
	"embedded-registry":                 "there is no registry on the nodes; put images into the image with keelson build --embed-image",
	"enable-pprof":                      "profiling is off; remove the line",
	"etcd-arg":                          whyEtcd,
	"etcd-disable-snapshots":            whyEtcd,
	"etcd-expose-metrics":               whyEtcd,
	"etcd-s3":                           whyEtcd,
	"etcd-s3-access-key":                whyEtcd,
	"etcd-s3-bucket":                    whyEtcd,
	"etcd-s3-bucket-lookup-type":        whyEtcd,
	"etcd-s3-config-secret":             whyEtcd,
	"etcd-s3-endpoint":                  whyEtcd,
	"etcd-s3-endpoint-ca":               whyEtcd,
	"etcd-s3-folder":                    whyEtcd,
	"etcd-s3-insecure":                  whyEtcd,
	"etcd-s3-proxy":                     whyEtcd,
	"etcd-s3-region":                    whyEtcd,
	"etcd-s3-retention":                 whyEtcd,
	"etcd-s3-secret-key":                whyEtcd,
	"etcd-s3-session-token":             whyEtcd,
	"etcd-s3-skip-ssl-verify":           whyEtcd,
	"etcd-s3-timeout":                   whyEtcd,
	"etcd-snapshot-compress":            whyEtcd,
	"etcd-snapshot-dir":                 whyEtcd,
	"etcd-snapshot-name":                whyEtcd,
	"etcd-snapshot-reconcile-interval":  whyEtcd,
	"etcd-snapshot-retention":           whyEtcd,
	"etcd-snapshot-schedule-cron":       whyEtcd,
	"flannel-cni-conf":                  whyNetwork,
	"flannel-conf":                      whyNetwork,
	"flannel-external-ip":               whyNetwork,
	"flannel-ipv6-masq":                 "this version supports IPv4 clusters only; remove the line",
	"helm-controller-arg":               "the Helm controller has no flags here; remove the line",
	"helm-job-image":                    "charts are installed without a job; remove the line",
	"image-credential-provider-bin-dir": "programs cannot be added to the system; write the registry's credentials below registries: configs",
	"image-credential-provider-config":  "programs cannot be added to the system; write the registry's credentials below registries: configs",
	"image-service-endpoint":            whyRuntime,
	"kine-tls":                          whyDatastore,
	"kube-cloud-controller-arg":         whyCloud,
	"kube-cloud-controller-manager-arg": whyCloud,
	"kube-controller-arg":               "write kube-controller-manager-arg",
	"lb-server-port":                    whyJoin,
	"log":                               whyLogs,
	"multi-cluster-cidr":                whyOld,
	"no-deploy":                         "write disable",
	"no-flannel":                        "write flannel-backend: none",
	"node-external-dns":                 whyCloud,
	"node-external-ip":                  "without a cloud controller a Node has internal addresses only; for the API's certificate write tls-san",
	"node-internal-dns":                 whyCloud,
	"nonroot-devices":                   whyRuntime,
	"pause-image":                       "the pause image is part of the system; remove the line",
	"prefer-bundled-bin":                whySystem,
	"private-registry":                  "write the content of registries.yaml below registries: in this file, or put it at " + RegistriesDir + "/registries.yaml",
	"protect-kernel-defaults":           whySystem,
	"rootless":                          whySystem,
	"secrets-encryption":                whySecrets,
	"secrets-encryption-provider":       whySecrets,
	"selinux":                           "the system has no SELinux; remove the line",
	"servicelb-namespace":               "the service load balancer has no pods; remove the line",
	"snapshotter":                       whyRuntime,
	"supervisor-metrics":                "there is no supervisor; remove the line",
	"supervisor-port":                   whyJoin,
	"system-default-registry":           whyImages,
	"tls-san-security":                  "the API's certificate never has names but the node's and those below tls-san; remove the line",
	"token-file":                        whyTokens,
	"v":                                 whyLogs,
	"vmodule":                           whyLogs,
	"vpn-auth":                          whyNetwork,
	"vpn-auth-file":                     whyNetwork,
	"with-node-id":                      "write a node-name of your own; a hostname that is not set has digits of the machine id already",
	"write-kubeconfig":                  whyPaths,
	"write-kubeconfig-group":            "there are no groups on a node; write write-kubeconfig-mode",
}

// facts are refused keys with one value that says what holds anyway; that one is accepted.
var facts = map[string]bool{
	"cluster-init": false, "debug": false, "disable-cloud-controller": true, "disable-kube-proxy": false,
	"disable-network-policy": true, "docker": false, "embedded-registry": false, "etcd-disable-snapshots": true,
	"flannel-external-ip": false, "flannel-ipv6-masq": false, "rootless": false, "secrets-encryption": false,
	"selinux": false, "tls-san-security": true, "with-node-id": false,
}

// isOtherK3sKey reports whether key is one of k3s's that this version does not support.
func isOtherK3sKey(key string) bool { return refusals[key] != "" }

// refuse records that the key base of k3s is not supported, unless its value is a fact.
func (d *decoder) refuse(p, base string, k, v *yaml.Node) {
	if fact, ok := facts[base]; ok && v.Kind == yaml.ScalarNode && v.Tag == "!!bool" && strings.EqualFold(v.Value, strconv.FormatBool(fact)) {
		return
	}
	d.fail(k, p, "k3s key %q is not supported by this version of Keelson: %s (docs/k3s-compatibility.md)", base, refusals[base])
}

// k3sAliases are the short forms of k3s's flags, valid in its config.yaml, and the long
// form to write instead.
var k3sAliases = map[string]string{
	"t": "token", "s": "server", "d": "data-dir", "i": "node-ip", "o": "write-kubeconfig", "l": "log", "c": "config",
}
