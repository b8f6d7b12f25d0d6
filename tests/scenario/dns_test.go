package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// dnsObjects are two pods behind a Service and a headless one, and a pod that asks.
const dnsObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: dns-story}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: dns-story}
spec:
  selector: {app: backend}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: dns-story}
spec:
  clusterIP: None
  selector: {app: backend}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: backend, namespace: dns-story}
spec:
  replicas: 2
  serviceName: headless
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: backend
        image: keelson.dev/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: dns-story}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sleep, "86400"]
---
apiVersion: v1
kind: Pod
metadata: {name: host-client, namespace: dns-story}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sleep, "86400"]
`

// customDNS is coredns-custom as a user of k3s writes it: a zone from inline hosts, a zone
// from another key's file, and a change of the main block.
const customDNS = `
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns-custom, namespace: kube-system}
data:
  made-up.server: |
    made.up:53 {
      errors
      hosts {
        10.11.12.13 host.made.up
      }
    }
  zone.server: |
    zone.test {
      file /etc/coredns/custom/zone.db
    }
  zone.db: |
    $ORIGIN zone.test.
    @ 60 IN SOA ns.zone.test. root.zone.test. 1 3600 600 86400 60
    @ 60 IN NS ns.zone.test.
    www 60 IN A 10.11.12.14
  template.override: |
    template IN A over.ride {
      answer "{{ .Name }} 60 IN A 10.11.12.15"
    }
%s`

// dnsStory asks for everything that Kubernetes' DNS specification has names for, from a pod
// on the pods' network and from one on the host's, and then changes coredns-custom: what is
// right is served without a restart, what is wrong is refused with an event while what was
// there before is served on.
func dnsStory(t *testing.T, ctx context.Context, n *harness.Node) {
	if _, err := n.KubectlInput(ctx, dnsObjects, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, 4*time.Minute, "the pods of the DNS story", func(ctx context.Context) error {
		_, err := n.Kubectl(ctx, "-n", "dns-story", "wait", "pod", "--all", "--for=condition=Ready", "--timeout=20s")
		if err != nil {
			return err
		}
		_, err = n.Kubectl(ctx, "-n", "dns-story", "rollout", "status", "statefulset/backend", "--timeout=20s")
		return err
	})
	get := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(kubectl(t, ctx, n, append([]string{"get"}, args...)...))
	}
	in := func(pod, script string) (string, error) {
		limit, cancel := within(ctx, time.Minute, "a question from pod "+pod)
		defer cancel()
		return n.Kubectl(limit, "-n", "dns-story", "exec", pod, "--", "sh", "-c", script)
	}
	podIPs := strings.Fields(get("-n", "dns-story", "pods", "-l", "app=backend", "-o", "jsonpath={.items[*].status.podIP}"))
	slices.Sort(podIPs)
	if len(podIPs) != 2 {
		t.Fatalf("pods of backend have the addresses %q, want two", podIPs)
	}
	serviceIP := get("-n", "dns-story", "service", "backend", "-o", "jsonpath={.spec.clusterIP}")
	node := strings.Fields(get("nodes", "-o", `jsonpath={.items[0].metadata.name} {.items[0].status.addresses[?(@.type=="InternalIP")].address}`))
	if len(node) != 2 {
		t.Fatalf("node = %q, want name and address", node)
	}
	dashed := strings.ReplaceAll(podIPs[0], ".", "-")

	questions := []struct {
		what, kind, name string
		want             []string // words of the answer
	}{
		{"Service", "a", "backend.dns-story.svc.cluster.local", []string{"Address: " + serviceIP}},
		{"the API", "a", "kubernetes.default.svc.cluster.local", []string{"Address: 10.43.0.1"}},
		{"headless Service", "a", "headless.dns-story.svc.cluster.local", []string{"Address: " + podIPs[0], "Address: " + podIPs[1]}},
		{"pod of a StatefulSet", "a", "backend-1.headless.dns-story.svc.cluster.local", []string{"Address: 10.42."}},
		{"SRV", "srv", "_http._tcp.backend.dns-story.svc.cluster.local", []string{" 80 backend.dns-story.svc.cluster.local"}},
		{"SRV of a headless Service", "srv", "_http._tcp.headless.dns-story.svc.cluster.local", []string{" 8080 backend-0.headless.dns-story", " 8080 backend-1.headless.dns-story"}},
		{"PTR of a ClusterIP", "ptr", reverse(serviceIP), []string{"name = backend.dns-story.svc.cluster.local"}},
		{"PTR of a pod", "ptr", reverse(podIPs[0]), []string{".headless.dns-story.svc.cluster.local"}},
		{"pod by its address", "a", dashed + ".dns-story.pod.cluster.local", []string{"Address: " + podIPs[0]}},
		{"node", "a", node[0] + ".", []string{"Address: " + node[1]}},
		{"no such Service", "a", "none.dns-story.svc.cluster.local", []string{"NXDOMAIN"}},
	}
	for _, pod := range []string{"client", "host-client"} {
		t.Run("names from "+pod, func(t *testing.T) {
			eventually(t, ctx, time.Minute, "all names", func(context.Context) error {
				var script strings.Builder
				for _, q := range questions {
					fmt.Fprintf(&script, "echo '=='; nslookup -type=%s %s 2>&1\n", q.kind, q.name)
				}
				out, err := in(pod, script.String()+"true")
				if err != nil {
					return err
				}
				replies := strings.Split(out, "==\n")[1:]
				for i, q := range questions {
					for _, w := range q.want {
						if i >= len(replies) || !strings.Contains(replies[i], w) {
							return fmt.Errorf("%s: nslookup -type=%s %s printed no %q; all:\n%s", q.what, q.kind, q.name, w, out)
						}
					}
				}
				return nil
			})
		})
	}
	t.Run("short names and the search path", func(t *testing.T) {
		for _, name := range []string{"backend", "backend.dns-story", "backend.dns-story.svc"} {
			got, err := in("client", "wget -q -T 10 -O - http://"+name+"/")
			if err != nil || !strings.HasPrefix(got, "backend-") {
				t.Errorf("wget http://%s/ = %q, %v, want a pod's name", name, got, err)
			}
		}
	})
	t.Run("TCP", func(t *testing.T) {
		// busybox asks by UDP only: that the connection is accepted shows the way through the Service.
		if _, err := in("client", "nc -w 10 10.43.0.10 53 < /dev/null"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a name outside without a network", func(t *testing.T) {
		begin := time.Now()
		out, err := in("client", "nslookup -type=a outside.example. 2>&1; true")
		took := time.Since(begin)
		t.Logf("%.1f s until the answer", took.Seconds())
		if err != nil || strings.Contains(out, "Address: 1") || took > 20*time.Second {
			t.Errorf("nslookup of a name outside: %v after %s:\n%s", err, took, out)
		}
	})
	t.Run("endpoint", func(t *testing.T) {
		got := get("-n", "kube-system", "endpointslice", "kube-dns-"+node[0], "-o", "jsonpath={.endpoints[*].addresses[*]} {.endpoints[0].conditions.ready} {.ports[*].port} {.metadata.ownerReferences[0].name}")
		if want := node[1] + " true 10053 10053 " + node[0]; got != want {
			t.Errorf("EndpointSlice = %q, want %q", got, want)
		}
	})

	apply := func(more string) {
		t.Helper()
		if _, err := n.KubectlInput(ctx, fmt.Sprintf(customDNS, more), "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	resolves := func(t *testing.T, names map[string]string) {
		t.Helper()
		eventually(t, ctx, time.Minute, "names of coredns-custom", func(context.Context) error {
			for name, want := range names {
				out, err := in("client", "nslookup -type=a "+name+" 2>&1; true")
				if err != nil {
					return err
				}
				if !strings.Contains(out, want) {
					return fmt.Errorf("nslookup %s printed no %q:\n%s", name, want, out)
				}
			}
			return nil
		})
	}
	custom := map[string]string{"host.made.up": "Address: 10.11.12.13", "www.zone.test": "Address: 10.11.12.14", "x.over.ride": "Address: 10.11.12.15"}
	event := func(t *testing.T, kind string, words ...string) {
		t.Helper()
		eventually(t, ctx, time.Minute, kind+" event of coredns-custom", func(ctx context.Context) error {
			got, err := n.Kubectl(ctx, "-n", "kube-system", "get", "events", "--field-selector", "involvedObject.name=coredns-custom,type="+kind,
				"-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
			if err != nil {
				return err
			}
			for _, w := range words {
				if !strings.Contains(got, w) {
					return fmt.Errorf("events are %q, want %q in one", got, w)
				}
			}
			return nil
		})
	}
	t.Run("coredns-custom appears", func(t *testing.T) {
		apply("")
		resolves(t, custom)
	})
	t.Run("a broken key is refused", func(t *testing.T) {
		apply("  broken.override: |\n    frobnicate\n")
		event(t, "Warning", "Refused: broken.override:1", "frobnicate")
		resolves(t, custom)
	})
	t.Run("mended", func(t *testing.T) {
		apply("  another.server: |\n    an.other {\n      hosts {\n        10.11.12.16 host.an.other\n      }\n    }\n")
		event(t, "Normal", "Accepted")
		resolves(t, map[string]string{"host.an.other": "Address: 10.11.12.16", "host.made.up": "Address: 10.11.12.13"})
	})
}

// reverse is the name under which an IPv4 address's name is asked for.
func reverse(addr string) string {
	parts := strings.Split(addr, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + ".in-addr.arpa"
}
