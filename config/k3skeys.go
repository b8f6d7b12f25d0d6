package config

import "slices"

// otherK3sKeys are the keys of k3s's config.yaml that this version does not support: every
// flag of "k3s server" and "k3s agent", deprecated and hidden ones included. They are
// refused by name, apart from misspelt ones, so that nobody takes an ignored setting for
// an effective one.
// Source: k3s pkg/cli/cmds/server.go and agent.go; docs.k3s.io/cli/server and /agent.
var otherK3sKeys = []string{
	"advertise-address", "advertise-port", "agent-token", "agent-token-file", "airgap-extra-registry",
	"alsologtostderr", "bind-address", "cluster-init", "cluster-reset", "cluster-reset-restore-path",
	"cluster-secret", "config", "container-runtime-endpoint", "data-dir", "datastore-cafile",
	"datastore-certfile", "datastore-endpoint", "datastore-keyfile", "debug", "default-local-storage-path",
	"default-runtime", "disable", "disable-agent", "disable-apiserver", "disable-apiserver-lb",
	"disable-cloud-controller", "disable-controller-manager", "disable-default-registry-endpoint",
	"disable-etcd", "disable-helm-controller", "disable-kube-proxy", "disable-network-policy",
	"disable-scheduler", "disable-selinux", "docker", "egress-selector-mode", "embedded-registry",
	"enable-pprof", "etcd-arg", "etcd-disable-snapshots", "etcd-expose-metrics", "etcd-s3",
	"etcd-s3-access-key", "etcd-s3-bucket", "etcd-s3-bucket-lookup-type", "etcd-s3-config-secret",
	"etcd-s3-endpoint", "etcd-s3-endpoint-ca", "etcd-s3-folder", "etcd-s3-insecure", "etcd-s3-proxy",
	"etcd-s3-region", "etcd-s3-retention", "etcd-s3-secret-key", "etcd-s3-session-token",
	"etcd-s3-skip-ssl-verify", "etcd-s3-timeout", "etcd-snapshot-compress", "etcd-snapshot-dir",
	"etcd-snapshot-name", "etcd-snapshot-retention", "etcd-snapshot-schedule-cron", "flannel-cni-conf",
	"flannel-conf", "flannel-external-ip", "flannel-ipv6-masq", "helm-job-image",
	"image-credential-provider-bin-dir", "image-credential-provider-config", "image-service-endpoint",
	"kine-tls", "kube-cloud-controller-manager-arg", "lb-server-port", "log", "multi-cluster-cidr",
	"no-deploy", "no-flannel", "node-external-dns", "node-external-ip", "node-internal-dns", "node-ip",
	"nonroot-devices", "pause-image", "prefer-bundled-bin", "private-registry", "protect-kernel-defaults",
	"resolv-conf", "rootless", "secrets-encryption", "secrets-encryption-provider", "selinux",
	"service-node-port-range", "servicelb-namespace", "snapshotter", "system-default-registry",
	"tls-san-security", "token-file", "v", "vmodule", "vpn-auth", "vpn-auth-file", "with-node-id",
	"write-kubeconfig", "write-kubeconfig-group",
}

// isOtherK3sKey reports whether key is one of k3s's that this version does not support.
func isOtherK3sKey(key string) bool {
	_, found := slices.BinarySearch(otherK3sKeys, key)
	return found
}

// k3sAliases are the short forms of k3s's flags, valid in its config.yaml, and the long
// form to write instead.
var k3sAliases = map[string]string{
	"t": "token", "s": "server", "d": "data-dir", "i": "node-ip", "o": "write-kubeconfig", "l": "log", "c": "config",
}
