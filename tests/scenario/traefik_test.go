package scenario

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// traefikObjects are a web server behind an Ingress and behind an IngressRoute with a Middleware.
const traefikObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: traefik-story}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: traefik-story, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: keelson.dev/busybox:1
      command: [sh, -c, "mkdir -p /var/www/sub && echo top >/var/www/index.html && echo below >/var/www/sub/index.html && exec httpd -f -p 8080 -h /var/www"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: traefik-story}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: traefik-story}
spec:
  rules:
    - host: ingress.example
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]
---
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: below, namespace: traefik-story}
spec: {addPrefix: {prefix: /sub}}
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: plain, namespace: traefik-story}
spec:
  entryPoints: [web]
  routes:
    - match: Host(` + "`route.example`" + `)
      kind: Rule
      middlewares: [{name: below}]
      services: [{name: web, port: 80}]
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: encrypted, namespace: traefik-story}
spec:
  entryPoints: [websecure]
  routes:
    - match: Host(` + "`route.example`" + `)
      kind: Rule
      services: [{name: web, port: 80}]
  tls: {}
`

// traefikStory needs the guest's ports 80 and 443 forwarded. An Ingress and an IngressRoute
// answer on them, over TLS with Traefik's own certificate; the Ingress gets the node's
// address; a HelmChartConfig, as k3s's documentation writes it, moves the port, and
// without it everything is as before.
func traefikStory(t *testing.T, ctx context.Context, n *harness.Node) {
	eventually(t, ctx, 5*time.Minute, "Traefik's deployment", func(ctx context.Context) error {
		_, err := n.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/traefik", "--timeout=10s")
		return err
	})
	t.Run("the image is the node's own", func(t *testing.T) {
		if got, want := kubectl(t, ctx, n, "-n", "kube-system", "get", "deployment", "traefik", "-o", "jsonpath={.spec.template.spec.containers[0].image}"), "keelson.dev/traefik:"; !strings.HasPrefix(got, want) {
			t.Errorf("image = %s, want %s…", got, want)
		}
		events := kubectl(t, ctx, n, "-n", "kube-system", "get", "events", "--field-selector", "reason=Pulling", "-o", "jsonpath={range .items[*]}{.involvedObject.name}{\"\\n\"}{end}")
		if strings.Contains(events, "traefik") {
			t.Errorf("an image was pulled for %s", strings.TrimSpace(events))
		}
	})
	eventually(t, ctx, 2*time.Minute, "the web server and its routes", func(ctx context.Context) error {
		if _, err := n.KubectlInput(ctx, traefikObjects, "apply", "-f", "-"); err != nil {
			return err
		}
		_, err := n.Kubectl(ctx, "-n", "traefik-story", "wait", "pod/web", "--for=condition=Ready", "--timeout=20s")
		return err
	})

	plain, secure := n.Port(80), n.Port(443)
	for _, tt := range []struct{ name, url, host, want string }{
		{"Ingress over HTTP", fmt.Sprintf("http://127.0.0.1:%d/", plain), "ingress.example", "top"},
		{"Ingress over TLS", fmt.Sprintf("https://127.0.0.1:%d/", secure), "ingress.example", "top"},
		{"IngressRoute with a Middleware over HTTP", fmt.Sprintf("http://127.0.0.1:%d/", plain), "route.example", "below"},
		{"IngressRoute over TLS", fmt.Sprintf("https://127.0.0.1:%d/", secure), "route.example", "top"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eventually(t, ctx, time.Minute, "an answer", func(ctx context.Context) error {
				body, status, err := ask(ctx, tt.url, tt.host)
				if err == nil && (status != http.StatusOK || body != tt.want) {
					err = fmt.Errorf("%s for %s: %d, %q; want 200, %q", tt.url, tt.host, status, body, tt.want)
				}
				return err
			})
		})
	}
	t.Run("a host that no rule names", func(t *testing.T) {
		if _, status, err := ask(ctx, fmt.Sprintf("http://127.0.0.1:%d/", plain), "nobody.example"); err != nil || status != http.StatusNotFound {
			t.Errorf("status %d, %v; want 404", status, err)
		}
	})
	t.Run("Traefik's own certificate", func(t *testing.T) {
		limit, cancel := within(ctx, time.Minute, "the handshake")
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "route.example"}} // what is asked is whose it is
		conn, err := d.DialContext(limit, "tcp", fmt.Sprintf("127.0.0.1:%d", secure))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got, want := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName, "TRAEFIK DEFAULT CERT"; got != want {
			t.Errorf("certificate of %q, want %q", got, want)
		}
	})
	var address string
	t.Run("the Ingress has the node's address", func(t *testing.T) {
		eventually(t, ctx, time.Minute, "the Ingress's status", func(ctx context.Context) error {
			var err error
			if address, err = n.Kubectl(ctx, "-n", "traefik-story", "get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"); err != nil {
				return err
			}
			if net.ParseIP(address) == nil {
				return fmt.Errorf("status has %q, want an address", address)
			}
			return nil
		})
	})
	t.Run("a HelmChartConfig moves the port", func(t *testing.T) { movePort(t, ctx, n, address) })
}

// movePort sets ports.web.exposedPort by a HelmChartConfig, and takes it back.
func movePort(t *testing.T, ctx context.Context, n *harness.Node, address string) {
	const change = `
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata: {name: traefik, namespace: kube-system}
spec:
  valuesContent: |-
    ports:
      web:
        exposedPort: 8088
      websecure:
        exposedPort: 443
`
	if _, err := n.KubectlInput(ctx, change, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	servicePorts := func(ctx context.Context) (string, error) {
		return n.Kubectl(ctx, "-n", "kube-system", "get", "service", "traefik", "-o", "jsonpath={.spec.ports[*].port}")
	}
	eventually(t, ctx, 2*time.Minute, "the Service's new port", func(ctx context.Context) error {
		got, err := servicePorts(ctx)
		if err == nil && got != "8088 443" {
			err = fmt.Errorf("ports are %q, want \"8088 443\"", got)
		}
		return err
	})
	// From a pod: the machine forwards only what it was started with.
	eventually(t, ctx, time.Minute, "an answer on the new port", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "-n", "traefik-story", "exec", "web", "--", "wget", "-q", "-T", "5", "-O", "-", "--header", "Host: ingress.example", "http://"+net.JoinHostPort(address, "8088")+"/")
		if err == nil && strings.TrimSpace(out) != "top" {
			err = fmt.Errorf("answer is %q, want \"top\"", out)
		}
		return err
	})
	if _, status, err := ask(ctx, fmt.Sprintf("http://127.0.0.1:%d/", n.Port(80)), "ingress.example"); err == nil {
		t.Errorf("port 80 still answers: %d", status)
	}
	kubectl(t, ctx, n, "-n", "kube-system", "delete", "helmchartconfig", "traefik")
	eventually(t, ctx, 2*time.Minute, "the old port", func(ctx context.Context) error {
		got, err := servicePorts(ctx)
		if err == nil && got != "80 443" {
			err = fmt.Errorf("ports are %q, want \"80 443\"", got)
		}
		if err != nil {
			return err
		}
		_, _, err = ask(ctx, fmt.Sprintf("http://127.0.0.1:%d/", n.Port(80)), "ingress.example")
		return err
	})
	// What kubectl shows of a chart that went well.
	var chart struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal([]byte(kubectl(t, ctx, n, "-n", "kube-system", "get", "helmchart", "traefik", "-o", "json")), &chart); err != nil {
		t.Fatal(err)
	}
	for _, c := range chart.Status.Conditions {
		if c.Type == "Failed" && c.Status == "True" {
			t.Errorf("the HelmChart says: %s", c.Message)
		}
	}
}

// ask sends one request to url with the host name of a rule, on a connection of its own, and
// returns the trimmed body and the status.
func ask(ctx context.Context, url, host string) (body string, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	req.Host, req.Close = host, true
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: host}, // Traefik's default certificate is nobody's
	}}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), resp.StatusCode, errors.Join(err, resp.Body.Close())
}
