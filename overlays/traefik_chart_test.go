package overlays_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/keelson-os/keelson/imagebuilder/oci"
	"github.com/keelson-os/keelson/tests/reftool"
)

// object is one rendered object: its kind and name, and itself, read strictly.
type object struct {
	kind, name string
	value      any
	text       string
}

// kinds makes the Kubernetes type of a kind. Those of others are read as maps.
var kinds = map[string]func() any{
	"Deployment":              func() any { return &appsv1.Deployment{} },
	"DaemonSet":               func() any { return &appsv1.DaemonSet{} },
	"Service":                 func() any { return &corev1.Service{} },
	"ServiceAccount":          func() any { return &corev1.ServiceAccount{} },
	"ConfigMap":               func() any { return &corev1.ConfigMap{} },
	"PersistentVolumeClaim":   func() any { return &corev1.PersistentVolumeClaim{} },
	"ClusterRole":             func() any { return &rbacv1.ClusterRole{} },
	"ClusterRoleBinding":      func() any { return &rbacv1.ClusterRoleBinding{} },
	"Role":                    func() any { return &rbacv1.Role{} },
	"RoleBinding":             func() any { return &rbacv1.RoleBinding{} },
	"IngressClass":            func() any { return &networkingv1.IngressClass{} },
	"HorizontalPodAutoscaler": func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
	"PodDisruptionBudget":     func() any { return &policyv1.PodDisruptionBudget{} },
	"IngressRoute":            func() any { return &map[string]any{} },
	"TLSOption":               func() any { return &map[string]any{} },
	"TLSStore":                func() any { return &map[string]any{} },
	"ServiceMonitor":          func() any { return &map[string]any{} },
	"PrometheusRule":          func() any { return &map[string]any{} },
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir("charts/traefik")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// try renders the chart as release traefik in kube-system with values on top of its own.
func try(t *testing.T, values string) ([]object, error) {
	t.Helper()
	c := loadChart(t)
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = common.KubeVersion{Version: "v1.37.2", Major: "1", Minor: "37"}
	top, err := util.ToRenderValues(c, given, common.ReleaseOptions{Name: "traefik", Namespace: "kube-system", IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, top)
	if err != nil {
		return nil, err
	}
	var out []object
	for name, text := range files {
		if strings.HasSuffix(name, ".tpl") {
			continue
		}
		for document := range strings.SplitSeq(text, "\n---") {
			document = strings.TrimPrefix(strings.TrimSpace(document), "---")
			var head struct {
				APIVersion, Kind string
				Metadata         struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(document), &head); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			if head.Kind == "" {
				if rest := strings.TrimSpace(document); rest != "" && !strings.HasPrefix(rest, "#") {
					t.Errorf("%s has a document without a kind:\n%s", name, document)
				}
				continue
			}
			kind, ok := kinds[head.Kind]
			if !ok {
				t.Fatalf("%s: a %s was not expected:\n%s", name, head.Kind, document)
			}
			o := object{kind: head.Kind, name: head.Metadata.Name, value: kind(), text: document}
			if err := yaml.UnmarshalStrict([]byte(document), o.value); err != nil {
				t.Errorf("%s: %s %s is not what Kubernetes expects: %v\n%s", name, head.Kind, head.Metadata.Name, err, document)
			}
			out = append(out, o)
		}
	}
	return out, nil
}

func render(t *testing.T, values string) []object {
	t.Helper()
	out, err := try(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// find returns the one object of type T with this name.
func find[T any](t *testing.T, objects []object, name string) *T {
	t.Helper()
	for _, o := range objects {
		if v, ok := o.value.(*T); ok && o.name == name {
			return v
		}
	}
	t.Fatalf("no %T %s among %d objects", *new(T), name, len(objects))
	return nil
}

// args returns the flags of Traefik.
func args(t *testing.T, objects []object) []string {
	t.Helper()
	return find[appsv1.Deployment](t, objects, "traefik").Spec.Template.Spec.Containers[0].Args
}

func TestChartVersionIsThatOfTheModuleAndTheImage(t *testing.T) {
	version := strings.TrimPrefix(loadChart(t).Metadata.AppVersion, "v")
	if want := "keelson.dev/traefik:" + version; oci.TraefikRef != want {
		t.Errorf("oci.TraefikRef = %s, want the chart's %s", oci.TraefikRef, want)
	}
	text, err := os.ReadFile("../imagebuilder/traefik/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/traefik/traefik/v3 v" + version + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("imagebuilder/traefik/go.mod does not require %q, the chart's appVersion", strings.TrimSpace(want))
	}
}

// TestCRDChart renders the chart of Traefik's kinds: all of them, typed, and kept by Helm.
func TestCRDChart(t *testing.T) {
	c, err := loader.LoadDir("charts/traefik-crd")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Metadata.AppVersion, loadChart(t).Metadata.AppVersion; got != want {
		t.Errorf("appVersion of traefik-crd = %s, that of traefik is %s", got, want)
	}
	values, err := util.ToRenderValues(c, nil, common.ReleaseOptions{Name: "traefik-crd", Namespace: "kube-system"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, document := range strings.Split(files["traefik-crd/templates/crds.yaml"], "\n---\n")[1:] {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict([]byte(document), &crd); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if crd.Annotations["helm.sh/resource-policy"] != "keep" || crd.Spec.Group != "traefik.io" || crd.Spec.Versions[0].Name != "v1alpha1" {
			t.Errorf("%s = %v, %s; want it kept, of traefik.io/v1alpha1", crd.Name, crd.Annotations, crd.Spec.Group)
		}
		got = append(got, crd.Spec.Names.Kind)
	}
	want := []string{"IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "Middleware", "MiddlewareTCP", "ServersTransport", "ServersTransportTCP", "TLSOption", "TLSStore", "TraefikService"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("kinds = %v, want %v", got, want)
	}
}

func TestDefaultsAreK3ss(t *testing.T) {
	objects := render(t, packagedValues(t))
	var got []string
	for _, o := range objects {
		got = append(got, o.kind+"/"+o.name)
	}
	slices.Sort(got)
	want := []string{
		"ClusterRole/traefik-kube-system", "ClusterRoleBinding/traefik-kube-system", "Deployment/traefik",
		"IngressClass/traefik", "Service/traefik", "ServiceAccount/traefik",
	}
	if !slices.Equal(got, want) {
		t.Errorf("objects = %v, want %v", got, want)
	}
	class := find[networkingv1.IngressClass](t, objects, "traefik")
	if class.Spec.Controller != "traefik.io/ingress-controller" || class.Annotations["ingressclass.kubernetes.io/is-default-class"] != "true" {
		t.Errorf("IngressClass = %+v, want the default one, of traefik.io/ingress-controller", class)
	}
	s := find[corev1.Service](t, objects, "traefik")
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.Ports[0].Port != 80 || s.Spec.Ports[1].Port != 443 || len(s.Spec.Ports) != 2 ||
		s.Spec.Ports[0].TargetPort.StrVal != "web" || s.Spec.Ports[1].TargetPort.StrVal != "websecure" {
		t.Errorf("Service = %+v, want a LoadBalancer with 80 → web and 443 → websecure", s.Spec)
	}
	d := find[appsv1.Deployment](t, objects, "traefik")
	pod := d.Spec.Template.Spec
	if d.Namespace != "kube-system" || *d.Spec.Replicas != 1 || pod.PriorityClassName != "system-cluster-critical" || len(pod.Tolerations) != 2 {
		t.Errorf("Deployment = %+v, want one replica in kube-system that tolerates the control plane", d)
	}
	c := pod.Containers[0]
	if c.Image != oci.TraefikRef || c.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("image = %s, %s, want the embedded %s", c.Image, c.ImagePullPolicy, oci.TraefikRef)
	}
	if c.ReadinessProbe.HTTPGet.Path != "/ping" || c.ReadinessProbe.HTTPGet.Port.IntVal != 8080 || c.LivenessProbe == nil {
		t.Errorf("readiness = %+v, want /ping at 8080", c.ReadinessProbe)
	}
	if u := pod.SecurityContext.RunAsUser; u == nil || *u != 65532 || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Errorf("security = %+v, %+v; want user 65532 and a read-only root", pod.SecurityContext, c.SecurityContext)
	}
	if got := d.Spec.Template.Annotations["prometheus.io/port"]; got != "9100" {
		t.Errorf("prometheus.io/port = %q, want the metrics' 9100", got)
	}
	wantArgs := []string{
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
		"--entryPoints.metrics.address=:9100/tcp", "--entryPoints.traefik.address=:8080/tcp", "--entryPoints.web.address=:8000/tcp",
		"--entryPoints.websecure.address=:8443/tcp", "--entryPoints.websecure.http.tls=true", "--ping=true",
		"--metrics.prometheus=true", "--metrics.prometheus.entryPoint=metrics",
		"--providers.kubernetesCRD=true", "--providers.kubernetesCRD.allowEmptyServices=true",
		"--providers.kubernetesIngress=true", "--providers.kubernetesIngress.allowEmptyServices=true",
		"--providers.kubernetesIngress.ingressEndpoint.publishedService=kube-system/traefik", "--log.level=INFO",
	}
	if !slices.Equal(c.Args, wantArgs) {
		t.Errorf("args = %q, want %q", c.Args, wantArgs)
	}
}

// packagedValues returns the values in manifests/traefik.yaml.
func packagedValues(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("manifests/traefik.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var c struct {
			Metadata struct{ Name string }
			Spec     struct{ ValuesContent string }
		}
		if err := yaml.Unmarshal([]byte(document), &c); err != nil {
			t.Fatal(err)
		}
		if c.Metadata.Name == "traefik" {
			return c.Spec.ValuesContent
		}
	}
	t.Fatal("manifests/traefik.yaml has no HelmChart traefik")
	return ""
}

// userValues are values that people give, and what becomes of them.
var userValues = []struct {
	name, values string
	want         []string // flags that are there
	not          []string // and what no flag begins with
}{
	{"trusted proxies of k3s's documentation", "image: {repository: docker.io/library/traefik, tag: 3.3.5}\nports: {web: {forwardedHeaders: {trustedIPs: [10.0.0.0/8]}}}",
		[]string{"--entryPoints.web.forwardedHeaders.trustedIPs=10.0.0.0/8"}, nil},
	{"proxy protocol", "ports: {web: {proxyProtocol: {trustedIPs: [10.0.0.0/8, 192.168.0.0/16]}}}",
		[]string{"--entryPoints.web.proxyProtocol.trustedIPs=10.0.0.0/8,192.168.0.0/16"}, nil},
	{"redirection", "ports: {web: {http: {redirections: {entryPoint: {to: websecure, scheme: https, permanent: true}}}}}",
		[]string{"--entryPoints.web.http.redirections.entryPoint.to=:443", "--entryPoints.web.http.redirections.entryPoint.scheme=https", "--entryPoints.web.http.redirections.entryPoint.permanent=true"}, nil},
	{"redirection of an older chart", "ports: {web: {redirections: {entryPoint: {to: websecure, scheme: https}}}, websecure: {exposedPort: 9443}}",
		[]string{"--entryPoints.web.http.redirections.entryPoint.to=:9443"}, nil},
	{"redirectTo", "ports: {web: {redirectTo: websecure}}",
		[]string{"--entryPoints.web.http.redirections.entryPoint.to=:443", "--entryPoints.web.http.redirections.entryPoint.scheme=https"}, nil},
	{"redirectTo with port", "ports: {web: {redirectTo: {port: websecure, priority: 10}}}",
		[]string{"--entryPoints.web.http.redirections.entryPoint.to=:443", "--entryPoints.web.http.redirections.entryPoint.priority=10"}, nil},
	{"TLS off, as older charts say it", "ports: {websecure: {tls: {enabled: false}}}", nil, []string{"--entryPoints.websecure.http.tls"}},
	{"TLS with a resolver", "ports: {websecure: {http: {tls: {certResolver: le, domains: [{main: a.example, sans: ['*.a.example', b.example]}]}}}}",
		[]string{"--entryPoints.websecure.http.tls=true", "--entryPoints.websecure.http.tls.certResolver=le", "--entryPoints.websecure.http.tls.domains[0].main=a.example", "--entryPoints.websecure.http.tls.domains[0].sans=*.a.example,b.example"}, nil},
	{"middlewares", "ports: {web: {http: {middlewares: [default-auth@kubernetescrd]}}}", []string{"--entryPoints.web.http.middlewares=default-auth@kubernetescrd"}, nil},
	{"HTTP/3", "ports: {websecure: {http3: {enabled: true, advertisedPort: 443}}}", []string{"--entryPoints.websecure.http3=true", "--entryPoints.websecure.http3.advertisedPort=443"}, nil},
	{"timeouts and bytes", "ports: {web: {transport: {respondingTimeouts: {readTimeout: 0}}, http: {maxHeaderBytes: 1048576}}}",
		[]string{"--entryPoints.web.transport.respondingTimeouts.readTimeout=0", "--entryPoints.web.http.maxHeaderBytes=1048576"}, nil},
	{"a port of one's own", "ports: {mqtt: {port: 1883, expose: {default: true}, exposedPort: 1883, protocol: TCP}}", []string{"--entryPoints.mqtt.address=:1883/tcp"}, nil},
	{"a UDP port", "ports: {dns: {port: 5353, protocol: UDP}}", []string{"--entryPoints.dns.address=:5353/udp"}, nil},
	{"one address", "ports: {web: {hostIP: '::1'}}", []string{"--entryPoints.web.address=[::1]:8000/tcp"}, nil},
	{"no metrics", "metrics: {prometheus: null}\nports: {metrics: null}", nil, []string{"--metrics", "--entryPoints.metrics"}},
	{"metrics' labels", "metrics: {prometheus: {addRoutersLabels: true, buckets: '0.1,0.3'}}", []string{"--metrics.prometheus.addRoutersLabels=true", "--metrics.prometheus.buckets=0.1,0.3"}, []string{"--metrics.prometheus.service"}},
	{"statsd", "metrics: {statsd: {address: 'localhost:8125'}}", []string{"--metrics.statsd=true", "--metrics.statsd.address=localhost:8125"}, nil},
	{"log level", "logs: {general: {level: debug, format: json}}", []string{"--log.level=DEBUG", "--log.format=json"}, nil},
	{"log level of later charts", "log: {level: WARN}", []string{"--log.level=WARN"}, nil},
	{"access log", "logs: {access: {enabled: true, format: json, fields: {general: {defaultmode: keep, names: {ClientUsername: drop}}, headers: {defaultmode: drop, names: {User-Agent: keep}}}, filters: {statuscodes: '200,300-302'}}}",
		[]string{"--accesslog=true", "--accesslog.format=json", "--accesslog.fields.defaultmode=keep", "--accesslog.fields.names.ClientUsername=drop", "--accesslog.fields.headers.names.User-Agent=keep", "--accesslog.filters.statuscodes=200,300-302"}, nil},
	{"no access log", "logs: {access: {enabled: false, format: json}}", nil, []string{"--accesslog"}},
	{"access log of later charts", "accessLog: {enabled: true, fields: {defaultMode: keep}}", []string{"--accesslog=true", "--accesslog.fields.defaultMode=keep"}, nil},
	{"CRD provider", "providers: {kubernetesCRD: {allowCrossNamespace: true, allowExternalNameServices: true, ingressClass: internal, namespaces: [a, b]}}",
		[]string{"--providers.kubernetesCRD.allowCrossNamespace=true", "--providers.kubernetesCRD.allowExternalNameServices=true", "--providers.kubernetesCRD.ingressClass=internal", "--providers.kubernetesCRD.namespaces=a,b"}, nil},
	{"no CRD provider", "providers: {kubernetesCRD: {enabled: false}}", nil, []string{"--providers.kubernetesCRD"}},
	{"published elsewhere", "providers: {kubernetesIngress: {publishedService: {pathOverride: lb/front}}}", []string{"--providers.kubernetesIngress.ingressEndpoint.publishedService=lb/front"}, nil},
	{"not published", "providers: {kubernetesIngress: {publishedService: {enabled: false}, ingressEndpoint: {ip: 192.0.2.1}}}", []string{"--providers.kubernetesIngress.ingressEndpoint.ip=192.0.2.1"}, []string{"--providers.kubernetesIngress.ingressEndpoint.publishedService"}},
	{"file provider", "providers: {file: {enabled: true, content: 'http: {}'}}", []string{"--providers.file=true", "--providers.file.directory=/etc/traefik/dynamic", "--providers.file.watch=true"}, []string{"--providers.file.content"}},
	{"namespaced rights", "rbac: {namespaced: true}\nproviders: {kubernetesCRD: {namespaces: [a]}}", []string{"--providers.kubernetesCRD.namespaces=kube-system,a", "--providers.kubernetesIngress.disableClusterScopeResources=true"}, nil},
	{"resolver", "certificatesResolvers: {le: {acme: {email: a@example.com, storage: /data/acme.json, tlsChallenge: {}, httpChallenge: {entryPoint: web}}}}",
		[]string{"--certificatesresolvers.le.acme.email=a@example.com", "--certificatesresolvers.le.acme.tlsChallenge=true", "--certificatesresolvers.le.acme.httpChallenge.entryPoint=web"}, nil},
	{"DNS challenge", "certificatesResolvers: {le: {acme: {dnsChallenge: {provider: cloudflare, resolvers: ['1.1.1.1:53', '8.8.8.8:53']}}}}",
		[]string{"--certificatesresolvers.le.acme.dnsChallenge.provider=cloudflare", "--certificatesresolvers.le.acme.dnsChallenge.resolvers=1.1.1.1:53,8.8.8.8:53"}, nil},
	{"arguments", "globalArguments: [--global.checknewversion]\nadditionalArguments: ['--serversTransport.insecureSkipVerify=true', '--providers.kubernetesCRD.labelSelector=\"a b\"']",
		[]string{"--global.checknewversion", "--serversTransport.insecureSkipVerify=true", `--providers.kubernetesCRD.labelSelector="a b"`}, nil},
	{"tracing", "tracing: {serviceName: edge, otlp: {enabled: true, grpc: {enabled: true, endpoint: 'otel:4317', insecure: true}}}",
		[]string{"--tracing.serviceName=edge", "--tracing.otlp=true", "--tracing.otlp.grpc=true", "--tracing.otlp.grpc.endpoint=otel:4317"}, nil},
	{"plugin", "experimental: {plugins: {geo: {moduleName: github.com/x/geo, version: v1.0.0}}}",
		[]string{"--experimental.plugins.geo.moduleName=github.com/x/geo", "--experimental.plugins.geo.version=v1.0.0"}, nil},
	{"the API", "api: {insecure: true}", []string{"--api.insecure=true", "--api.dashboard=false"}, nil},
	{"values nobody knows", "offering_version: x\nports: {web: {allowACMEByPass: true}}\nfoo: {bar: [1]}", []string{"--entryPoints.web.allowACMEByPass=true"}, nil},
}

func TestUsersValuesReachTraefik(t *testing.T) {
	for _, tt := range userValues {
		t.Run(tt.name, func(t *testing.T) {
			got := args(t, render(t, tt.values))
			for _, w := range tt.want {
				if !slices.Contains(got, w) {
					t.Errorf("no flag %s in %q", w, got)
				}
			}
			for _, n := range tt.not {
				if i := slices.IndexFunc(got, func(a string) bool { return strings.HasPrefix(a, n) }); i >= 0 {
					t.Errorf("flag %s, want none of %s", got[i], n)
				}
			}
		})
	}
}

// TestFlagsAreTraefiks asks Traefik itself, as the Makefile built it: its health check reads the
// flags as the server does, and ends because no server answers.
func TestFlagsAreTraefiks(t *testing.T) {
	program := filepath.Join("..", "bin", runtime.GOARCH, "traefik")
	if _, err := os.Stat(program); err != nil {
		reftool.Missing(t, fmt.Errorf("make traefik first: %w", err))
	}
	ask := func(t *testing.T, flags []string) string {
		out, err := exec.CommandContext(t.Context(), program, append([]string{"healthcheck"}, flags...)...).CombinedOutput()
		if err == nil {
			t.Errorf("a server answered where none runs: %s", out)
		}
		return string(out)
	}
	const refused, noServer = "failed to decode configuration from flags", "Error calling healthcheck"
	if out := ask(t, []string{"--entryPoints.web.no=1"}); !strings.Contains(out, refused) {
		t.Fatalf("a flag that is not Traefik's: %q, want %q", out, refused)
	}
	for _, tt := range userValues {
		t.Run(tt.name, func(t *testing.T) {
			// A port of this machine's that is nobody's, so that there is no answer.
			flags := append(args(t, render(t, tt.values)), "--entryPoints.traefik.address=127.0.0.1:1/tcp")
			if out := ask(t, flags); strings.Contains(out, refused) || !strings.Contains(out, noServer) {
				t.Errorf("Traefik says %q to %q, want it to look for a server", out, flags)
			}
		})
	}
}

func TestServiceFollowsThePorts(t *testing.T) {
	for _, tt := range []struct{ name, values, want string }{
		{"default", "", "web 80 web TCP 0, websecure 443 websecure TCP 0"},
		{"other ports on the node", "ports: {web: {exposedPort: 8088}, websecure: {exposedPort: 8443}}", "web 8088 web TCP 0, websecure 8443 websecure TCP 0"},
		{"text as a port", "ports: {web: {exposedPort: '8088'}}", "web 8088 web TCP 0, websecure 443 websecure TCP 0"},
		{"node ports", "service: {type: NodePort}\nports: {web: {nodePort: 32080}, websecure: {nodePort: 32443}}", "web 80 web TCP 32080, websecure 443 websecure TCP 32443"},
		{"not exposed", "ports: {web: {expose: {default: false}}}", "websecure 443 websecure TCP 0"},
		{"an older chart's expose", "ports: {mqtt: {port: 1883, expose: true}, web: {expose: false}}", "mqtt 1883 mqtt TCP 0, websecure 443 websecure TCP 0"},
		{"UDP beside TCP", "ports: {dns_udp: {port: 5353, protocol: UDP, exposedPort: 53, expose: {default: true}}}", "dns-udp 53 dns-udp UDP 0, web 80 web TCP 0, websecure 443 websecure TCP 0"},
		{"HTTP/3", "ports: {websecure: {http3: {enabled: true}}}", "web 80 web TCP 0, websecure 443 websecure TCP 0, websecure-http3 443 websecure-http3 UDP 0"},
		{"target port", "ports: {web: {targetPort: 8000}}", "web 80 8000 TCP 0, websecure 443 websecure TCP 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects := render(t, tt.values)
			var got []string
			named := map[string]bool{}
			for _, p := range find[appsv1.Deployment](t, objects, "traefik").Spec.Template.Spec.Containers[0].Ports {
				named[p.Name] = true
			}
			for _, p := range find[corev1.Service](t, objects, "traefik").Spec.Ports {
				got = append(got, strings.Join([]string{p.Name, intText(p.Port), p.TargetPort.String(), string(p.Protocol), intText(p.NodePort)}, " "))
				if p.TargetPort.Type == intstr.String && !named[p.TargetPort.StrVal] {
					t.Errorf("the Service's port %s goes to the container's port %s, which is not there", p.Name, p.TargetPort.StrVal)
				}
			}
			if all := strings.Join(got, ", "); all != tt.want {
				t.Errorf("ports = %s, want %s", all, tt.want)
			}
		})
	}
}

func intText(n int32) string { return strconv.Itoa(int(n)) }

func TestServiceSettings(t *testing.T) {
	s := find[corev1.Service](t, render(t, `
service:
  annotations: {a: b}
  labels: {svccontroller.k3s.cattle.io/lbpool: edge}
  loadBalancerSourceRanges: [192.0.2.0/24]
  externalIPs: [192.0.2.7]
  spec: {externalTrafficPolicy: Local}
  ipFamilyPolicy: SingleStack
`), "traefik")
	if s.Annotations["a"] != "b" || s.Labels["svccontroller.k3s.cattle.io/lbpool"] != "edge" || s.Spec.LoadBalancerSourceRanges[0] != "192.0.2.0/24" ||
		s.Spec.ExternalIPs[0] != "192.0.2.7" || s.Spec.ExternalTrafficPolicy != "Local" || *s.Spec.IPFamilyPolicy != "SingleStack" {
		t.Errorf("Service = %+v, want all that was set", s)
	}
	objects := render(t, "service: {single: false, additionalServices: {internal: {type: ClusterIP}}}\nports: {dns: {port: 5353, protocol: UDP, expose: {default: true, internal: true}}}")
	if udp := find[corev1.Service](t, objects, "traefik-udp"); len(udp.Spec.Ports) != 1 || udp.Spec.Ports[0].Name != "dns" {
		t.Errorf("traefik-udp = %+v, want the UDP port alone", udp.Spec.Ports)
	}
	if tcp := find[corev1.Service](t, objects, "traefik"); len(tcp.Spec.Ports) != 2 {
		t.Errorf("traefik = %+v, want the TCP ports alone", tcp.Spec.Ports)
	}
	if internal := find[corev1.Service](t, objects, "traefik-internal"); internal.Spec.Type != corev1.ServiceTypeClusterIP || internal.Spec.Ports[0].Name != "dns" {
		t.Errorf("traefik-internal = %+v, want a ClusterIP with dns", internal.Spec)
	}
	for _, o := range render(t, "service: {enabled: false}") {
		if o.kind == "Service" {
			t.Errorf("Service %s with service.enabled: false", o.name)
		}
		if strings.Contains(o.text, "publishedService") {
			t.Errorf("%s %s publishes a Service that is not there", o.kind, o.name)
		}
	}
}

func TestImageIsTheEmbeddedOneUntilAnotherIsAskedFor(t *testing.T) {
	for _, tt := range []struct{ name, values, want string }{
		{"default", "", oci.TraefikRef},
		{"pull policy alone", "image: {pullPolicy: Always}", oci.TraefikRef},
		{"k3s's documentation", "image: {repository: docker.io/library/traefik, tag: 3.3.5}", "docker.io/library/traefik:3.3.5"},
		{"repository alone", "image: {repository: example.com/traefik}", "example.com/traefik:v3.7.13"},
		{"tag alone", "image: {tag: v3.6.1}", "docker.io/library/traefik:v3.6.1"},
		{"registry alone", "image: {registry: example.com}", "example.com/traefik:v3.7.13"},
		{"digest", "image: {digest: 'sha256:aa'}", "docker.io/library/traefik@sha256:aa"},
		{"the dashboard", "ingressRoute: {dashboard: {enabled: true}}", "docker.io/library/traefik:v3.7.13"},
		{"a registry for the system", "global: {systemDefaultRegistry: reg.example}\nimage: {repository: traefik, tag: v3}", "reg.example/traefik:v3"},
		{"a registry for the system, embedded", "global: {systemDefaultRegistry: reg.example}", oci.TraefikRef},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := find[appsv1.Deployment](t, render(t, tt.values), "traefik")
			if got := d.Spec.Template.Spec.Containers[0].Image; got != tt.want {
				t.Errorf("image = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPodSettings(t *testing.T) {
	objects := render(t, `
deployment:
  replicas: 2
  podAnnotations: {x: '{{ .Release.Name }}'}
  podLabels: {team: edge}
  initContainers: [{name: first, image: a}]
  additionalContainers: [{name: beside, image: b}]
  additionalVolumes: [{name: more, emptyDir: {}}]
  imagePullSecrets: [{name: pull}]
  dnsPolicy: Default
additionalVolumeMounts: [{name: more, mountPath: /more}]
volumes: [{name: certs, mountPath: /certs, type: secret}, {name: conf.d, mountPath: /conf, type: configMap}]
env: [{name: CF_API_TOKEN, value: t}]
envFrom: [{secretRef: {name: acme}}]
resources: {limits: {memory: 128Mi}}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: h, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app.kubernetes.io/name: '{{ template "traefik.name" . }}'}}}]
persistence: {enabled: true, storageClass: local-path, size: 256Mi}
ports: {web: {hostPort: 80}}
`)
	d := find[appsv1.Deployment](t, objects, "traefik")
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if *d.Spec.Replicas != 2 || d.Spec.Template.Annotations["x"] != "traefik" || d.Spec.Template.Labels["team"] != "edge" ||
		pod.InitContainers[0].Name != "first" || pod.Containers[1].Name != "beside" || pod.ImagePullSecrets[0].Name != "pull" || pod.DNSPolicy != "Default" {
		t.Errorf("pod = %+v, want all that was set", pod)
	}
	if pod.NodeSelector["kubernetes.io/os"] != "linux" || pod.Affinity == nil || len(pod.Tolerations) != 1 ||
		pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels["app.kubernetes.io/name"] != "traefik" {
		t.Errorf("scheduling = %+v, want all that was set", pod)
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if env["CF_API_TOKEN"] != "t" || env["GOMEMLIMIT"] != "120795955" || c.EnvFrom[0].SecretRef.Name != "acme" {
		t.Errorf("env = %v, %v; want CF_API_TOKEN, and nine tenths of 128Mi as GOMEMLIMIT", env, c.EnvFrom)
	}
	if got := c.Resources.Requests.Memory().String(); got != "50Mi" {
		t.Errorf("memory request = %s, want the default's 50Mi beside a limit", got)
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	if volumes["data"].PersistentVolumeClaim == nil || volumes["certs"].Secret.SecretName != "certs" || volumes["conf-d"].ConfigMap.Name != "conf.d" || volumes["more"].EmptyDir == nil {
		t.Errorf("volumes = %+v, want data, certs, conf-d and more", volumes)
	}
	for _, m := range c.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			t.Errorf("mount %s has no volume", m.Name)
		}
	}
	if i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "web" }); i < 0 || c.Ports[i].HostPort != 80 {
		t.Errorf("container ports = %+v, want web on the host's 80", c.Ports)
	}
	claim := find[corev1.PersistentVolumeClaim](t, objects, "traefik")
	if *claim.Spec.StorageClassName != "local-path" || claim.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("claim = %+v, want it of local-path and kept", claim)
	}
}

func TestOtherObjects(t *testing.T) {
	objects := render(t, `
deployment: {kind: DaemonSet}
updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}
hostNetwork: true
ingressClass: {name: edge, isDefaultClass: false}
ingressRoute: {healthcheck: {enabled: true}}
tlsOptions: {default: {minVersion: VersionTLS12}}
tlsStore: {default: {defaultCertificate: {secretName: wildcard}}}
autoscaling: {enabled: true, maxReplicas: 3}
podDisruptionBudget: {enabled: true, minAvailable: 1}
metrics: {prometheus: {serviceMonitor: {enabled: true, interval: 30s}, prometheusRule: {enabled: true, rules: [{alert: A, expr: up}]}}}
providers: {file: {enabled: true, content: "http:\n  routers: {}\n"}}
serviceAccount: {name: mine}
extraObjects: ["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-extra'}"]
`)
	if d := find[appsv1.DaemonSet](t, objects, "traefik"); !d.Spec.Template.Spec.HostNetwork || d.Spec.Template.Spec.DNSPolicy != "ClusterFirstWithHostNet" || d.Spec.Template.Spec.ServiceAccountName != "mine" {
		t.Errorf("DaemonSet = %+v, want it in the host's network", d.Spec.Template.Spec)
	}
	if c := find[networkingv1.IngressClass](t, objects, "edge"); c.Annotations["ingressclass.kubernetes.io/is-default-class"] != "false" {
		t.Errorf("IngressClass = %+v, want it not to be the default", c)
	}
	if c := find[corev1.ConfigMap](t, objects, "traefik-file-provider"); c.Data["config.yml"] != "http:\n  routers: {}\n" {
		t.Errorf("file provider = %q", c.Data)
	}
	find[corev1.ConfigMap](t, objects, "traefik-extra")
	find[corev1.Service](t, objects, "traefik-metrics")
	find[policyv1.PodDisruptionBudget](t, objects, "traefik")
	find[autoscalingv2.HorizontalPodAutoscaler](t, objects, "traefik")
	var others []string
	for _, o := range objects {
		if _, ok := o.value.(*map[string]any); ok {
			others = append(others, o.kind+"/"+o.name)
		}
		if o.kind == "ServiceAccount" {
			t.Errorf("ServiceAccount %s, want the user's own alone", o.name)
		}
	}
	slices.Sort(others)
	if want := []string{"IngressRoute/traefik-healthcheck", "PrometheusRule/traefik", "ServiceMonitor/traefik", "TLSOption/default", "TLSStore/default"}; !slices.Equal(others, want) {
		t.Errorf("objects of other kinds = %v, want %v", others, want)
	}
	roles := 0
	for _, o := range render(t, "rbac: {namespaced: true}\nproviders: {kubernetesIngress: {namespaces: [a]}}") {
		if o.kind == "Role" || o.kind == "RoleBinding" {
			roles++
		}
		if o.kind == "ClusterRole" {
			t.Error("ClusterRole with rbac.namespaced")
		}
	}
	if roles != 4 {
		t.Errorf("%d Roles and RoleBindings, want two for each of kube-system and a", roles)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tt := range []struct{ name, values, want string }{
		{"Gateway API", "providers: {kubernetesGateway: {enabled: true}}", "Keelson has no Gateway API"},
		{"Hub", "hub: {token: x}", "Traefik Hub"},
		{"kind", "deployment: {kind: StatefulSet}", "StatefulSet, expected Deployment or DaemonSet"},
		{"port without a number", "ports: {mine: {expose: {default: true}}}", "ports.mine.port is missing"},
		{"redirection to nowhere", "ports: {web: {redirectTo: wbsecure}}", "ports.web redirects to wbsecure"},
		{"HTTP/3 without TLS", "ports: {web: {http3: {enabled: true}}}", "ports.web.http.tls.enabled"},
		{"no port exposed", "ports: {web: {expose: {default: false}}, websecure: {expose: {default: false}}}", "would have no port"},
		{"port out of range", "ports: {web: {exposedPort: 80800}}", "/ports/web/exposedPort"},
		{"text as a list", "additionalArguments: --log.level=DEBUG", "/additionalArguments"},
		{"text as a switch", "ports: {websecure: {http: {tls: {enabled: 'yes'}}}}", "/ports/websecure/http/tls/enabled"},
		{"volume's type", "volumes: [{name: a, mountPath: /a, type: hostPath}]", "expected secret or configMap"},
		{"host port in the host's network", "hostNetwork: true\nports: {web: {hostPort: 80}}", "with hostNetwork they are the same"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := try(t, tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("render = %v, want an error with %q", err, tt.want)
			}
		})
	}
}
