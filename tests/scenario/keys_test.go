package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/qemu"
)

// keys is a configuration with the keys of k3s that say something else than the default. It
// wants a registry's host twice, its user, its password and its CA.
const keys = `role: server
hostname: keys
cluster:
  node-name: keys.example
  node-label: [disk=ssd, example.com/rack=3]
  node-taint: dedicated=keys:PreferNoSchedule
  node-ip: 10.0.2.15
  bind-address: 10.0.2.15
  tls-san: [keys.example.org]
  cluster-cidr: 10.52.0.0/16
  service-cidr: 10.53.0.0/16
  cluster-domain: keys.local
  service-node-port-range: 30000-30999
  default-local-storage-path: /var/lib/rancher/volumes
  resolv-conf: /run/keelson/resolv.conf
  write-kubeconfig-mode: "0644"
  kubelet-arg: [max-pods=50]
  kube-apiserver-arg: [default-not-ready-toleration-seconds=77]
  kube-controller-manager-arg: [node-cidr-mask-size=25]
  kube-scheduler-arg: [v=1]
  kube-proxy-arg: ["metrics-bind-address=127.0.0.1:10349"]
  disable: [coredns, metrics-server, local-storage]
  disable+: servicelb,traefik
  disable-helm-controller: true
  disable-network-policy: true
  disable-default-registry-endpoint: true
registries:
  mirrors:
    docker.io:
      endpoint: ["https://%s"]
      rewrite: {"^library/(.*)": "hub/$1"}
    quay.io: {endpoint: ["http://10.0.2.2:5998"]}
  configs:
    "%s":
      auth: {username: %s, password: %s}
      tls: {ca: %q}
secrets: secrets.yaml
`

// TestKeysOfK3sHold boots an image whose configuration says another thing than the default
// about nearly everything, with every packaged component disabled, and asks the cluster
// whether it is so.
func TestKeysOfK3sHold(t *testing.T) {
	private := newRegistry(t, "hub/private")
	file := filepath.Join(t.TempDir(), "keelson.yaml")
	text := fmt.Sprintf(keys, private.Host, private.Host, private.User, private.Password, private.CA)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Not isolated: the registry is on the host.
	ctx, n := storyOf(t, withConfig(t, file), func(c *qemu.Config) { c.Isolated = false })
	up(t, ctx, n)
	appRuns(t, ctx, n)
	get := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(kubectl(t, ctx, n, append([]string{"get"}, args...)...))
	}
	expect := func(t *testing.T, what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s = %q, want %q", what, got, want)
		}
	}

	t.Run("node", func(t *testing.T) {
		for path, want := range map[string]string{
			`{.metadata.labels.disk}`:                                    "ssd",
			`{.metadata.labels.example\.com/rack}`:                       "3",
			`{.spec.taints[?(@.key=="dedicated")].effect}`:               "PreferNoSchedule",
			`{.status.addresses[?(@.type=="InternalIP")].address}`:       "10.0.2.15",
			`{.status.capacity.pods}`:                                    "50",
			`{.metadata.labels.node-role\.kubernetes\.io/control-plane}`: "true",
		} {
			expect(t, path, get("node", "keys.example", "-o", "jsonpath="+path), want)
		}
		if cidr := get("node", "keys.example", "-o", "jsonpath={.spec.podCIDR}"); !strings.HasPrefix(cidr, "10.52.") || !strings.HasSuffix(cidr, "/25") {
			t.Errorf("podCIDR = %q, want a /25 of 10.52.0.0/16", cidr)
		}
	})
	t.Run("kubelet", func(t *testing.T) {
		var c struct {
			Config struct {
				ClusterDomain, ResolvConf string
				ClusterDNS                []string
			} `json:"kubeletconfig"`
		}
		if err := json.Unmarshal([]byte(get("--raw", "/api/v1/nodes/keys.example/proxy/configz")), &c); err != nil {
			t.Fatal(err)
		}
		expect(t, "clusterDomain", c.Config.ClusterDomain, "keys.local")
		expect(t, "resolvConf", c.Config.ResolvConf, "/run/keelson/resolv.conf")
		expect(t, "clusterDNS", strings.Join(c.Config.ClusterDNS, ","), "10.53.0.10")
	})
	t.Run("API server", func(t *testing.T) {
		expect(t, "ClusterIP of the API", get("service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"), "10.53.0.1")
		expect(t, "endpoint of the API", get("endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[0].addresses[0]}"), "10.0.2.15")
		expect(t, "toleration", get("pod", "probe", "-o", `jsonpath={.spec.tolerations[?(@.key=="node.kubernetes.io/not-ready")].tolerationSeconds}`), "77")
		if _, err := n.Kubectl(ctx, "--tls-server-name", "keys.example.org", "get", "--raw", "/version"); err != nil {
			t.Errorf("as keys.example.org: %v", err)
		}
		if out, err := n.Kubectl(ctx, "create", "service", "nodeport", "far", "--tcp=80", "--node-port=31500"); err == nil || !strings.Contains(err.Error(), "30000-30999") {
			t.Errorf("a NodePort outside the range: %s, %v, want it refused", out, err)
		}
	})
	t.Run("listeners", func(t *testing.T) {
		// Local addresses of listening sockets (state 0A) in the host's network.
		have := strings.Fields(inProbe(t, ctx, n, `awk '$4 == "0A" {print $2}' /proc/1/net/tcp`))
		for what, want := range map[string]string{
			"the API at 10.0.2.15:6443": "0F02000A:192B", "the API at 127.0.0.1:6443": "0100007F:192B",
			"kube-proxy's metrics at 127.0.0.1:10349": "0100007F:286D",
		} {
			if !slices.Contains(have, want) {
				t.Errorf("%s is not among the listeners %q", what, have)
			}
		}
		if all, err := n.Kubectl(ctx, "exec", "probe", "--", "cat", "/proc/1/net/tcp6"); err != nil || strings.Contains(all, ":192B ") {
			t.Errorf("the API listens on every address too (%v)", err)
		}
	})
	t.Run("files", func(t *testing.T) {
		expect(t, "mode of k3s.yaml", inProbe(t, ctx, n, "stat -c %a /proc/1/root/etc/rancher/k3s/k3s.yaml"), "644")
		certs := "/proc/1/root/var/lib/rancher/k3s/agent/etc/containerd/certs.d/"
		expect(t, "mode of hosts.toml", inProbe(t, ctx, n, "stat -c %a "+certs+"docker.io/hosts.toml"), "600")
		if hosts := inProbe(t, ctx, n, "cat "+certs+"quay.io/hosts.toml"); !strings.Contains(hosts, `"http://10.0.2.2:5998/v2"`) {
			t.Errorf("quay.io's hosts.toml = %s", hosts)
		}
	})
	t.Run("a private mirror", func(t *testing.T) {
		// docker.io/library/private:1 is the mirror's hub/private:1, behind a password and a CA of its own.
		kubectl(t, ctx, n, "run", "mirrored", "--image=docker.io/library/private:1", "--restart=Never")
		kubectl(t, ctx, n, "wait", "pod/mirrored", "--for=condition=Ready", "--timeout=120s")
		if !private.Asked("/v2/hub/private/manifests/1") {
			t.Error("the mirror was not asked for hub/private:1")
		}
	})
	t.Run("a mirror that is away", func(t *testing.T) {
		kubectl(t, ctx, n, "run", "away", "--image=quay.io/nothing/at-all:1", "--restart=Never")
		eventually(t, ctx, 3*time.Minute, "the pull to fail", func(ctx context.Context) error {
			out, err := n.Kubectl(ctx, "get", "events", "--field-selector=involvedObject.name=away,reason=Failed", "-o", "jsonpath={.items[*].message}")
			if err == nil && !strings.Contains(out, "nothing/at-all") {
				err = fmt.Errorf("events: %q", out)
			}
			return err
		})
	})
	t.Run("everything is disabled", func(t *testing.T) {
		for _, args := range [][]string{
			{"service", "kube-dns", "-n", "kube-system"}, {"apiservice", "v1beta1.metrics.k8s.io"}, {"storageclass", "local-path"},
			{"ingressclass", "traefik"}, {"crd", "helmcharts.helm.cattle.io"},
		} {
			if out := get(append(args, "--ignore-not-found", "-o", "name")...); out != "" {
				t.Errorf("%s is there", out)
			}
		}
		if pods := get("pods", "-n", "kube-system", "-o", "name"); pods != "" {
			t.Errorf("pods in kube-system: %s", pods)
		}
	})
}
