package dns

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// api serves lists of the objects that CoreDNS watches, and says what was asked for.
func api(t *testing.T) (kubeconfig string, asked func() []string) {
	var mu sync.Mutex
	var paths []string
	port, name, protocol := int32(8080), "http", corev1.ProtocolTCP
	lists := map[string]any{
		"/api/v1/namespaces": corev1.NamespaceList{Items: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "default"}}}},
		"/api/v1/services": corev1.ServiceList{Items: []corev1.Service{
			{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.7.7", ClusterIPs: []string{"10.43.7.7"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: protocol}}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "pods", Namespace: "default"}, Spec: corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}},
		}},
		"/apis/discovery.k8s.io/v1/endpointslices": discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{{
			ObjectMeta:  metav1.ObjectMeta{Name: "pods-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "pods"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.5"}}, {Addresses: []string{"10.42.0.6"}}},
			Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		}}},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		list, ok := lists[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.URL.Query().Get("sendInitialEvents") != "":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: 422})
		case r.URL.Query().Get("watch") != "":
			w.Header().Set("Content-Type", "application/json")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			w.Header().Set("Content-Type", "application/json")
			raw, err := json.Marshal(list)
			if err != nil {
				t.Error(err)
			}
			var m map[string]any
			if err := json.Unmarshal(raw, &m); err != nil {
				t.Error(err)
			}
			kind := fmt.Sprintf("%T", list)
			m["kind"], m["apiVersion"] = kind[strings.LastIndexByte(kind, '.')+1:], "v1"
			if strings.HasPrefix(r.URL.Path, "/apis/discovery") {
				m["apiVersion"] = "discovery.k8s.io/v1"
			}
			m["metadata"] = map[string]string{"resourceVersion": "1"}
			if err := json.NewEncoder(w).Encode(m); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(s.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, s.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Sorted(slices.Values(paths)))
	}
}

func TestClusterNames(t *testing.T) {
	register(slog.New(slog.DiscardHandler))
	kubeconfig, asked := api(t)
	c, err := newCluster(kubeconfig, "cluster.local", netip.MustParseAddr("10.43.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	e := newEngine(freePort(t), newSources(), c, dir)
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
	for range 3 { // the caches outlive reloads
		if err := e.load(e.corefile(settings{}, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		kind uint16
		want string // the answer's values, sorted
	}{
		{"web.default.svc.cluster.local", dns.TypeA, "10.43.7.7"},
		{"pods.default.svc.cluster.local", dns.TypeA, "10.42.0.5 10.42.0.6"},
		{"10-42-0-9.default.pod.cluster.local", dns.TypeA, "10.42.0.9"},
		{"7.7.43.10.in-addr.arpa", dns.TypePTR, "web.default.svc.cluster.local."},
		{"_http._tcp.web.default.svc.cluster.local", dns.TypeSRV, "80 web.default.svc.cluster.local."},
		{"cluster.local", dns.TypeNS, "kube-dns.kube-system.svc.cluster.local."},
		{"ns.dns.cluster.local", dns.TypeA, "10.43.0.10"},
		{"none.default.svc.cluster.local", dns.TypeA, "NXDOMAIN"},
		{"example.org", dns.TypeA, "SERVFAIL"},
	} {
		r, err := ask("udp", e.port, tc.name, tc.kind)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var got []string
		if r.Rcode != dns.RcodeSuccess {
			got = append(got, dns.RcodeToString[r.Rcode])
		}
		for _, rr := range r.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				got = append(got, rr.A.String())
			case *dns.PTR:
				got = append(got, rr.Ptr)
			case *dns.NS:
				got = append(got, rr.Ns)
			case *dns.SRV:
				got = append(got, fmt.Sprint(rr.Port, " ", rr.Target))
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s %s = %q, want %q", dns.TypeToString[tc.kind], tc.name, s, tc.want)
		}
	}
	if got, want := asked(), []string{"/api/v1/namespaces", "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"}; !slices.Equal(got, want) {
		t.Errorf("the API was asked for %q, want %q: pods are not watched", got, want)
	}
}
