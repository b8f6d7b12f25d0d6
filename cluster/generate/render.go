package generate

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/keelson-os/keelson/config"
)

// block writes a YAML literal block, indented.
func block(b *strings.Builder, key, text string, indent int) {
	pad := strings.Repeat(" ", indent)
	fmt.Fprintf(b, "%s%s: |\n", pad, key)
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		fmt.Fprintf(b, "%s  %s\n", pad, line)
	}
}

func secretsYAML(o Options, s *config.Secrets) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# The secrets of the cluster %q: its certificate authorities and join tokens.
# Whoever has this file owns the cluster. Keep it, back it up, never publish it:
# it cannot be made again. server.yaml refers to it; agents never get it.

`, o.Name)
	for _, ca := range []struct {
		comment, key string
		pair         config.KeyPair
	}{
		{"signs what the API server and the kubelets show to clients", "server-ca", s.ServerCA},
		{"signs client certificates: administrators, nodes, components", "client-ca", s.ClientCA},
		{"signs the front proxy of aggregated APIs", "request-header-ca", s.RequestHeaderCA},
		{"signs both sides of the machine API", "machine-ca", s.MachineCA},
	} {
		fmt.Fprintf(&b, "# %s\n%s:\n", ca.comment, ca.key)
		block(&b, "cert", ca.pair.Cert, 2)
		block(&b, "key", ca.pair.Key, 2)
	}
	b.WriteString("# signs service account tokens\n")
	block(&b, "service-account-key", s.ServiceAccountKey, 0)
	fmt.Fprintf(&b, "# join tokens: a server's admits servers and agents, an agent's only agents\nserver-token: %q\nagent-token: %q\n", s.ServerToken, s.AgentToken)
	return []byte(b.String())
}

// networkComment shows the other ways to set up a link, ready to be uncommented.
const networkComment = `# Without this section every Ethernet port asks DHCP for an address.
# network:
#   interfaces:
#     - match: {name: eth0}          # or mac: 52:54:00:12:34:56, or driver: e1000e
#       addresses: [192.168.1.10/24]
#       gateway: 192.168.1.1
#       nameservers: [192.168.1.1]
#     - name: iot                    # VLAN 20 on eth0
#       vlan: {id: 20, parent: eth0}
#       dhcp: true

# Where the time comes from. NTP runs before any certificate is made.
# clock: {servers: [pool.ntp.org]}

`

func serverYAML(o Options, endpoints []endpoint) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# A server of the cluster %q: control plane, datastore and pods in one node.
#
#   keelson config validate server.yaml
#   keelson build --board pc --config server.yaml --out %s.img
#
# Every key is explained in docs/configuration.md.

role: server
hostname: %s

`, o.Name, o.Name, o.Hostname)
	b.WriteString(networkComment)
	b.WriteString(`# The keys of k3s's config.yaml.
cluster:
`)
	if len(endpoints) > 0 {
		b.WriteString("  # Names and addresses that the API's certificate is valid for, besides the node's own.\n  tls-san:\n")
		seen := map[string]bool{}
		for _, e := range endpoints {
			if !seen[e.host] {
				fmt.Fprintf(&b, "    - %q\n", e.host)
				seen[e.host] = true
			}
		}
	} else {
		b.WriteString("  # Names and addresses that the API's certificate is valid for, besides the node's own.\n  # tls-san: [kitchen-pi.lan, 192.168.1.10]\n")
	}
	b.WriteString(`  # node-label: [disk=ssd]
  # node-taint: [dedicated=storage:NoSchedule]
  # cluster-cidr: 10.42.0.0/16
  # service-cidr: 10.43.0.0/16
  # disable: [traefik]             # coredns, helm-controller, local-storage, metrics-server, servicelb, upgrade

# The certificate authorities and tokens, in a file beside this one.
secrets: secrets.yaml
`)
	return []byte(b.String())
}

func agentYAML(o Options, endpoints []endpoint, agentToken string) []byte {
	server, note := "https://"+o.Hostname+":6443", " # change it to your server's address"
	if len(endpoints) > 0 {
		server, note = endpoints[0].url(), ""
	}
	return fmt.Appendf(nil, `# An agent of the cluster %q: a node that runs pods and nothing else.
# This version of Keelson checks this file but cannot yet build an agent's image.

role: agent
# hostname: garage-pi            # default: keelson- and a part of the machine id

%s# The keys of k3s's config.yaml.
cluster:
  server: %s%s
  token: %s
  # node-label: [disk=ssd]
`, o.Name, networkComment, server, note, agentToken)
}

func kubeconfig(name, api, caPEM string, admin config.KeyPair) []byte {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s-admin
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s-admin
current-context: %[1]s
`, name, api, b64(caPEM), b64(admin.Cert), b64(admin.Key))
}
