package config

// Where PID 1 puts things and the node process finds them. Both sides of every path
// are in this repository, so they are agreed here and nowhere else.
const (
	// StateDir is where the state partition is mounted (k3s's data directory's parent).
	StateDir = "/var/lib/rancher"
	// Dir holds the machine configuration on the state partition, 0700.
	Dir = StateDir + "/keelson/config"
	// File is the machine configuration; secrets.yaml lies beside it.
	File = Dir + "/" + FileName
	// FileName is the configuration's name in an image's FAT partition and in Dir.
	FileName = "keelson.yaml"
	// SecretsName is the secrets file's name beside FileName.
	SecretsName = "secrets.yaml"

	// SeedImages and SeedManifests are the folders in the FAT partition whose files are
	// moved to the node's auto-import and auto-apply folders at first boot.
	SeedImages    = "images"
	SeedManifests = "manifests"
	// AgentImages and ServerManifests are k3s's folders for them.
	AgentImages     = StateDir + "/k3s/agent/images"
	ServerManifests = StateDir + "/k3s/server/manifests"

	// DefaultLocalStorage holds the volumes of the StorageClass local-path (k3s's place).
	DefaultLocalStorage = StateDir + "/k3s/storage"

	// HostsFile and ResolvFile are what /etc/hosts and /etc/resolv.conf link to.
	// PID 1 writes HostsFile once, before the node starts; then the node process owns it.
	HostsFile  = "/run/keelson/hosts"
	ResolvFile = "/run/keelson/resolv.conf"
	// SystemImages holds the OCI archives in the root that the node imports at start.
	SystemImages = "/usr/share/keelson/images"
	// TraefikImage is the archive there of the one packaged component that is a pod.
	TraefikImage = "traefik.tar"
	// CNIBinDir holds the CNI plugins in the root.
	CNIBinDir = "/opt/cni/bin"
	// LogDir holds the services' bounded logs, on the state partition.
	LogDir = "/var/log/keelson"
)
