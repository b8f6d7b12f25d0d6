package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// packaged are the components that "disable" takes away. The names are k3s's, but for
// helm-controller, which k3s has as a flag of its own (disable-helm-controller; both work
// here), and upgrade, which k3s does not package. runtimes is k3s's set of RuntimeClasses for container runtimes found on the host:
// Keelson has none of them, so that disabling it is simply the fact.
var packaged = []string{"coredns", "helm-controller", "local-storage", "metrics-server", "runtimes", "servicelb", "traefik", "upgrade"}

// packagedBy are other names that people know a packaged component by.
var packagedBy = map[string]string{
	"dns": "coredns", "kube-dns": "coredns", "helm": "helm-controller", "klipper-helm": "helm-controller",
	"ingress": "traefik", "klipper-lb": "servicelb", "svclb": "servicelb", "local-path": "local-storage",
	"local-path-provisioner": "local-storage", "metrics": "metrics-server", "traefik-crd": "traefik",
	"system-upgrade": "upgrade", "system-upgrade-controller": "upgrade", "upgrades": "upgrade",
}

// Disabled reports whether the packaged component of this name is to be left out, and
// removed if it is there: coredns, helm-controller, local-storage, metrics-server,
// servicelb, traefik or upgrade.
func (c Cluster) Disabled(name string) bool { return slices.Contains(c.Disable, name) }

// checkDisable accepts the name of a packaged component.
func checkDisable(d *decoder, p string, v *yaml.Node, s string) bool {
	if slices.Contains(packaged, s) {
		return true
	}
	hint, word := "", strings.ToLower(s)
	switch near := nearest(word, packaged); {
	case slices.Contains([]string{"ccm", "cloud-controller", "network-policy", "kube-proxy", "scheduler"}, word):
		flag := "disable-" + word
		if word == "ccm" {
			flag = "disable-cloud-controller"
		}
		hint = fmt.Sprintf("; k3s has the key %q for it", flag)
	case packagedBy[word] != "":
		hint = fmt.Sprintf("; did you mean %q?", packagedBy[word])
	case near != "":
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	d.fail(v, p, "found %s, expected one of %s%s", quote(s), strings.Join(packaged, ", "), hint)
	return false
}
