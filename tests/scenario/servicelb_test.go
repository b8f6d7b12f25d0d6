package scenario

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// lbPort is the port of the guest that servicelbStory needs forwarded from the host.
const lbPort = 8081

// lbHost is from where QEMU's forwarded connections come into the machine.
const lbHost = "10.0.2.2"

// lbObjects are a web server that tells a client its address, behind a Service that keeps
// that address, one that does not, one that wants a port which the first has, and one of
// another load balancer.
const lbObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: servicelb-story}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, namespace: servicelb-story, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sh, -c]
    args:
    - |
      mkdir -p /www/cgi-bin
      printf '#!/bin/sh\necho "Content-Type: text/plain"\necho\necho $REMOTE_ADDR\n' > /www/cgi-bin/client
      chmod 755 /www/cgi-bin/client
      # Not on [::], where an IPv4 client is ::ffff:10.0.2.2.
      exec httpd -f -p 0.0.0.0:8080 -h /www
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2, timeoutSeconds: 5}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: servicelb-story}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sleep, "86400"]
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: servicelb-story}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: echo}
  ports: [{port: 8081, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: cluster, namespace: servicelb-story}
spec:
  type: LoadBalancer
  selector: {app: echo}
  ports: [{port: 8083, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: foreign, namespace: servicelb-story}
spec:
  type: LoadBalancer
  loadBalancerClass: example.com/foreign
  selector: {app: echo}
  ports: [{port: 8084, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: kubelet, namespace: servicelb-story}
spec:
  type: LoadBalancer
  selector: {app: echo}
  ports: [{port: 10250, targetPort: 8080}]
`

// lbLater comes when the port has been given away.
const lbLater = `
apiVersion: v1
kind: Service
metadata: {name: later, namespace: servicelb-story}
spec:
  type: LoadBalancer
  selector: {app: echo}
  ports: [{port: 8081, targetPort: 8080}]
`

// servicelbStory makes Services of type LoadBalancer. They get the node's address, and
// answer there to the host, to pods and to the node; with externalTrafficPolicy Local the
// server sees the client's own address. Who wants a port that is taken waits, says why, and
// gets the address when the port is free.
//
// The machine needs a forward of lbPort.
func servicelbStory(t *testing.T, ctx context.Context, n *harness.Node) {
	if n.Port(lbPort) == 0 {
		t.Fatalf("the machine has no forward of port %d", lbPort)
	}
	apply := func(objects string) {
		t.Helper()
		if _, err := n.KubectlInput(ctx, objects, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	in := func(ctx context.Context, args ...string) (string, error) {
		out, err := n.Kubectl(ctx, append([]string{"-n", "servicelb-story"}, args...)...)
		return strings.TrimSpace(out), err
	}
	ingress := func(ctx context.Context, service string) (string, error) {
		return in(ctx, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
	}
	host := func(ctx context.Context) (string, error) {
		return get(ctx, fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/client", n.Port(lbPort)))
	}
	apply(lbObjects)
	eventually(t, ctx, 3*time.Minute, "the pods of the load balancer's story", func(ctx context.Context) error {
		_, err := in(ctx, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=20s")
		return err
	})
	address := strings.TrimSpace(kubectl(t, ctx, n, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))
	gets := func(t *testing.T, service string) {
		t.Helper()
		eventually(t, ctx, time.Minute, "the address of Service "+service, func(ctx context.Context) error {
			got, err := ingress(ctx, service)
			if err == nil && got != address {
				err = fmt.Errorf("addresses = %q, want the node's, %q", got, address)
			}
			return err
		})
	}
	waits := func(t *testing.T, service string, words ...string) {
		t.Helper()
		eventually(t, ctx, time.Minute, "an event that says why Service "+service+" waits", func(ctx context.Context) error {
			got, err := in(ctx, "get", "events", "--field-selector", "involvedObject.kind=Service,type=Warning,involvedObject.name="+service,
				"-o", `jsonpath={range .items[*]}{.count} {.reason}: {.message}{"\n"}{end}`)
			if err != nil {
				return err
			}
			for _, word := range append(words, "1 UnAvailableLoadBalancer: ") {
				if strings.Count(got, word) != 1 {
					return fmt.Errorf("events = %q, want one with %q", got, word)
				}
			}
			return nil
		})
		if got := kubectl(t, ctx, n, "-n", "servicelb-story", "get", "service", service, "--no-headers"); !strings.Contains(got, "<pending>") {
			t.Errorf("get service prints %q, want <pending>", got)
		}
	}

	t.Run("the node's address", func(t *testing.T) {
		gets(t, "local")
		gets(t, "cluster")
	})
	t.Run("the host's own address with policy Local", func(t *testing.T) {
		eventually(t, ctx, time.Minute, "an answer to the host", func(ctx context.Context) error {
			got, err := host(ctx)
			if err == nil && got != lbHost {
				err = fmt.Errorf("the server saw %q, want the client's own address, %q", got, lbHost)
			}
			return err
		})
	})
	t.Run("from a pod and from the node", func(t *testing.T) {
		for _, port := range []int{lbPort, 8083} {
			url := fmt.Sprintf("http://%s:%d/cgi-bin/client", address, port)
			eventually(t, ctx, time.Minute, "answers of "+url, func(ctx context.Context) error {
				if _, err := in(ctx, "exec", "client", "--", "wget", "-q", "-T", "5", "-O", "-", url); err != nil {
					return fmt.Errorf("from a pod: %w", err)
				}
				// In the node's network, with the pod's programs.
				if _, err := n.Kubectl(ctx, "exec", "probe", "--", "busybox", "nsenter", "-t", "1", "-n", "wget", "-q", "-T", "5", "-O", "-", url); err != nil {
					return fmt.Errorf("from the node: %w", err)
				}
				return nil
			})
		}
	})
	t.Run("a port that is taken", func(t *testing.T) {
		apply(lbLater)
		waits(t, "later", "TCP port 8081", "Service servicelb-story/local")
		waits(t, "kubelet", "TCP port 10250", "the kubelet")
	})
	t.Run("another load balancer's Service", func(t *testing.T) {
		if got, err := in(ctx, "get", "service", "foreign", "-o", "jsonpath={.status.loadBalancer}"); err != nil || got != "{}" {
			t.Errorf("status of foreign = %q, %v, want nothing", got, err)
		}
		if got, err := in(ctx, "get", "events", "--field-selector", "involvedObject.kind=Service,involvedObject.name=foreign", "-o", "name"); err != nil || got != "" {
			t.Errorf("events of foreign = %q, %v, want none", got, err)
		}
	})
	t.Run("a port that gets free", func(t *testing.T) {
		kubectl(t, ctx, n, "-n", "servicelb-story", "delete", "service", "local")
		gets(t, "later")
		eventually(t, ctx, time.Minute, "an answer of the Service that waited", func(ctx context.Context) error {
			got, err := host(ctx)
			if err == nil && (got == "" || got == lbHost) {
				// Policy Cluster: the node's own address stands in, which shows that it is not Service local.
				err = fmt.Errorf("the server saw %q, want an address of the node", got)
			}
			return err
		})
	})
	t.Run("no pods of its own", func(t *testing.T) {
		if got := kubectl(t, ctx, n, "get", "pods", "--all-namespaces", "-o", "name"); strings.Contains(got, "svclb") {
			t.Errorf("pods = %q, want none of the load balancer's", got)
		}
	})
}
