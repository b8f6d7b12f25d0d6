package scenario

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/tests/harness"
)

// hostAddress is the host, as a machine that is not isolated sees it.
const hostAddress = "10.0.2.2"

// testRegistry is an image registry on the host: HTTPS by a CA of its own, and a password.
type testRegistry struct {
	Host     string // as the machine sees it
	CA       string // PEM
	User     string
	Password string

	mu    sync.Mutex
	asked map[string]bool // paths of requests that had the password
}

// newRegistry serves one image, whose only program is pause, under the name repository:1.
func newRegistry(t *testing.T, repository string) *testRegistry {
	t.Helper()
	r := &testRegistry{User: "puller", Password: "correct horse", asked: map[string]bool{}}
	store := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	put := func(method, path, kind string, body []byte) {
		t.Helper()
		req := httptest.NewRequest(method, path, bytes.NewReader(body))
		req.Header.Set("Content-Type", kind)
		rec := httptest.NewRecorder()
		store.ServeHTTP(rec, req)
		if rec.Code != http.StatusCreated {
			t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
	}
	digest := func(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
	blob := func(b []byte) map[string]any {
		put(http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+digest(b), "application/octet-stream", b)
		return map[string]any{"digest": digest(b), "size": len(b)}
	}
	layer := pauseLayer(t)
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	configBlob, layerBlob := blob(config), blob(layer)
	configBlob["mediaType"], layerBlob["mediaType"] = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": configBlob, "layers": []any{layerBlob}})
	if err != nil {
		t.Fatal(err)
	}
	put(http.MethodPut, "/v2/"+repository+"/manifests/1", manifestType, manifest)

	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, ok := req.BasicAuth(); !ok || user != r.User || password != r.Password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		r.mu.Lock()
		r.asked[req.URL.Path] = true
		r.mu.Unlock()
		store.ServeHTTP(w, req)
	}))
	now := time.Now()
	pair, err := pki.NewCA("test registry", now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.ParseCA(pair)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(pki.Request{CommonName: "registry", Server: true, IPs: []netip.Addr{netip.MustParseAddr(hostAddress)}}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(issued.Cert), []byte(issued.Key))
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r.Host, r.CA = net.JoinHostPort(hostAddress, port), pair.Cert
	return r
}

// Asked reports whether somebody with the password asked for a path.
func (r *testRegistry) Asked(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[path]
}

// pauseLayer is a tar of the program that does nothing.
func pauseLayer(t *testing.T) []byte {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(root, "bin", "amd64", "pause"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
