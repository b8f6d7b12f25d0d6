package metrics

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/layout"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// serverName is how the API server names the metrics server in TLS.
const serverName = "metrics-server.kube-system.svc"

// certificates writes a node's certificates, as package credentials does.
func certificates(t *testing.T) layout.Layout {
	t.Helper()
	dir := t.TempDir()
	l := layout.Layout{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Etc: filepath.Join(dir, "etc")}
	s := &config.Secrets{ServerToken: "serverpassword01", AgentToken: "agentpassword001"}
	now := time.Now()
	var err error
	for name, into := range map[string]*config.KeyPair{"server": &s.ServerCA, "client": &s.ClientCA, "front": &s.RequestHeaderCA} {
		if *into, err = pki.NewCA(name, now); err != nil {
			t.Fatal(err)
		}
	}
	if s.ServiceAccountKey, err = pki.NewKey(); err != nil {
		t.Fatal(err)
	}
	store, err := credentials.New(l, &config.Config{Secrets: s, Cluster: config.Cluster{
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), ClusterDomain: "cluster.local", HTTPSListenPort: 6443, KubeconfigMode: 0o600,
	}}, "pi", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Ensure(nil, now); err != nil {
		t.Fatal(err)
	}
	return l
}

func pair(t *testing.T, dir, name string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pool(t *testing.T, dir, name string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(text)
	return p
}

// kubelet serves /metrics/resource of a node that uses half a core, and of a pod on it that
// uses a tenth, to the API server only. By its own clock it is asked every 15 s.
func kubelet(t *testing.T, l layout.Layout) (host string, port int) {
	t.Helper()
	began := time.Now().Add(-time.Hour)
	var asked atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics/resource" || r.TLS.PeerCertificates[0].Subject.CommonName != "kube-apiserver" {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		used := 3600 + 15*float64(asked.Add(1))
		at := began.UnixMilli() + int64(used*1000)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprintf(w, "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total %f %d\n", used/2, at)
		fmt.Fprintf(w, "# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes 1048576 %d\n", at)
		of := `{container="web",namespace="shop",pod="web-1"}`
		fmt.Fprintf(w, "# TYPE container_cpu_usage_seconds_total counter\ncontainer_cpu_usage_seconds_total%s %f %d\n", of, used/10, at)
		fmt.Fprintf(w, "# TYPE container_memory_working_set_bytes gauge\ncontainer_memory_working_set_bytes%s 4096 %d\n", of, at)
		fmt.Fprintf(w, "# TYPE container_start_time_seconds gauge\ncontainer_start_time_seconds%s %f\n", of, float64(began.UnixMilli())/1000)
	}))
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair(t, l.Agent(), credentials.ServingKubelet)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(t, l.Agent(), credentials.ClientCA),
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	a := s.Listener.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port
}

// reviewer answers the questions of delegated authorization: the user "reader" may everything.
// It knows no tokens.
func reviewer(t *testing.T) kubernetes.Interface {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
			_, _ = io.WriteString(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":false}}`)
			return
		}
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Status.Allowed = review.Spec.User == "reader"
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestServesMetricsToTheAggregator runs the whole server beside a kubelet and asks it as the
// API server does: with the front proxy's certificate and a user's name.
func TestServesMetricsToTheAggregator(t *testing.T) {
	l := certificates(t)
	host, port := kubelet(t, l)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "pi"},
		Status: corev1.NodeStatus{
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "not-this.invalid"}, {Type: corev1.NodeInternalIP, Address: host}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
		},
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pods := metadatafake.NewSimpleMetadataClient(scheme, &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{"app": "web"}},
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{TLS: l.ServerTLS(), Factory: informers.NewSharedInformerFactory(fake.NewClientset(node), 0), Log: slog.New(slog.DiscardHandler)}
	s, err := o.server(listener, reviewer(t), pods)
	if err != nil {
		t.Fatal(err)
	}
	apiIsUp := make(chan struct{})
	s.up = func(ctx context.Context) error {
		select {
		case <-apiIsUp:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.run(ctx); err != nil {
			t.Errorf("run = %v, want nil after the end of its context", err)
		}
	})
	defer running.Wait()
	defer stop()

	url := "https://" + listener.Addr().String()
	proxy := &tls.Config{RootCAs: pool(t, l.ServerTLS(), credentials.ServerCA), ServerName: serverName,
		Certificates: []tls.Certificate{pair(t, l.ServerTLS(), credentials.ClientAuthProxy)}}
	nobody := proxy.Clone()
	nobody.Certificates = nil
	admin := proxy.Clone()
	admin.Certificates = []tls.Certificate{pair(t, l.ServerTLS(), credentials.ClientAdmin)}
	ask := func(c *tls.Config, path, user string, groups ...string) (int, []byte, error) {
		transport := &http.Transport{TLSClientConfig: c.Clone()}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.Header.Set("X-Remote-User", user)
			req.Header["X-Remote-Group"] = groups
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, body, err
	}

	const group = "/apis/metrics.k8s.io/v1beta1"
	eventually(t, "the availability check, before the API server is up", func() error {
		code, body, err := ask(proxy, group, "system:kube-aggregator", "system:masters")
		if err == nil && (code != http.StatusOK || !strings.Contains(string(body), `"pods"`)) {
			err = fmt.Errorf("status %d: %s", code, body)
		}
		return err
	})
	for _, c := range []struct {
		name, path, user string
		with             *tls.Config
		want             int
	}{
		{"health without credentials", "/livez", "", nobody, http.StatusOK},
		{"a user's name without the proxy's certificate", group + "/nodes", "reader", nobody, http.StatusUnauthorized},
		{"a user's name with a certificate by another CA", group + "/nodes", "reader", admin, http.StatusUnauthorized},
		{"nobody", group + "/nodes", "", nobody, http.StatusUnauthorized},
		{"the proxy without a user", group + "/nodes", "", proxy, http.StatusUnauthorized},
		{"a user who may not", group + "/nodes", "visitor", proxy, http.StatusForbidden},
		{"a user who may, before there are metrics", group + "/nodes", "reader", proxy, http.StatusOK},
		{"one Node before there are metrics", group + "/nodes/pi", "reader", proxy, http.StatusNotFound},
		{"OpenAPI for the API server's own", "/openapi/v3", "reader", proxy, http.StatusOK},
	} {
		code, body, err := ask(c.with, c.path, c.user)
		// An unknown certificate may also end the connection.
		if err != nil && c.want == http.StatusUnauthorized && c.with == admin {
			continue
		}
		if err != nil || code != c.want {
			t.Errorf("%s: GET %s = %d, %v, want %d: %s", c.name, c.path, code, err, c.want, body)
		}
	}

	close(apiIsUp)
	eventually(t, "the first scrape", func() error {
		if s.collector.due(time.Now()) <= 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	s.collector.once(ctx) // the second one would come after busyInterval

	var nodes v1beta1.NodeMetricsList
	var list v1beta1.PodMetricsList
	for path, into := range map[string]any{group + "/nodes": &nodes, group + "/namespaces/shop/pods?labelSelector=app%3Dweb": &list} {
		code, body, err := ask(proxy, path, "reader")
		if err != nil || code != http.StatusOK {
			t.Fatalf("GET %s = %d, %v: %s", path, code, err, body)
		}
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	if len(nodes.Items) != 1 || nodes.Items[0].Name != "pi" {
		t.Fatalf("nodes = %v, want pi", nodes.Items)
	}
	if got := nodes.Items[0].Usage; got.Cpu().MilliValue() != 500 || got.Memory().Value() != 1<<20 {
		t.Errorf("node uses %v, want 500m and 1Mi", got)
	}
	if len(list.Items) != 1 || len(list.Items[0].Containers) != 1 {
		t.Fatalf("pods = %v, want one with one container", list.Items)
	}
	if got := list.Items[0].Containers[0].Usage; got.Cpu().MilliValue() != 100 || got.Memory().Value() != 4096 {
		t.Errorf("container uses %v, want 100m and 4Ki", got)
	}

	began := time.Now()
	stop()
	running.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the end took %v, want less than the 3s that the node waits", took)
	}
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-limit:
			t.Fatalf("wait for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func TestListenWaitsForAPortThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(taken.Addr().String())
	warned := make(chan struct{})
	log := slog.New(slog.NewTextHandler(once{warned}, nil))
	type result struct {
		l   net.Listener
		err error
	}
	got := make(chan result, 1)
	go func() {
		l, err := listen(t.Context(), address, log)
		got <- result{l, err}
	}()
	<-warned
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := r.l.Close(); err != nil {
		t.Error(err)
	}
}

// once is a log of one line, which closes the channel.
type once struct{ written chan struct{} }

func (o once) Write(p []byte) (int, error) {
	close(o.written)
	return len(p), nil
}
