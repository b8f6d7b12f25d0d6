package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	helmregistry "helm.sh/helm/v4/pkg/registry"
)

// tgz makes a chart's archive.
func tgz(t testing.TB, name, version string, extra ...string) []byte {
	t.Helper()
	var raw bytes.Buffer
	zip := gzip.NewWriter(&raw)
	archive := tar.NewWriter(zip)
	files := []string{
		"Chart.yaml", "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n",
		"templates/cm.yaml", "kind: ConfigMap\n",
	}
	files = append(files, extra...)
	for i := 0; i < len(files); i += 2 {
		text := files[i+1]
		if err := archive.WriteHeader(&tar.Header{Name: name + "/" + files[i], Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// chartRepo serves an index with the versions of chart "app" and their archives. The index
// has another chart before and after it.
func chartRepo(t *testing.T, versions ...string) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	index := "apiVersion: v1\nentries:\n  aaa:\n  - name: aaa\n    version: 9.9.9\n    urls: [aaa-9.9.9.tgz]\n  app:\n"
	for _, v := range versions {
		index += fmt.Sprintf("  - apiVersion: v2\n    description: |\n      entries:\n        app: this is text\n    name: app\n    urls:\n    - files/app-%s.tgz\n    version: %q\n", v, v)
		archive := tgz(t, "app", v)
		mux.HandleFunc("/charts/files/app-"+v+".tgz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive) })
	}
	index += "  zzz:\n  - name: zzz\n    version: 9.9.9\n    urls: [zzz-9.9.9.tgz]\ngenerated: \"2026-01-01T00:00:00Z\"\n"
	mux.HandleFunc("/charts/index.yaml", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, index) })
	return mux
}

func withBasicAuth(user, password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fetch(t *testing.T, f *Fetcher, r Request) (string, error) {
	t.Helper()
	c, err := f.Fetch(t.Context(), r)
	if err != nil {
		return "", err
	}
	if len(c.Templates) != 1 {
		t.Errorf("%s has %d templates, want 1", r, len(c.Templates))
	}
	return c.Metadata.Name + "-" + c.Metadata.Version, nil
}

func TestRepositoryVersionIsExactOrTheHighestInRange(t *testing.T) {
	server := httptest.NewServer(chartRepo(t, "1.2.0", "1.10.0", "1.9.3", "2.0.0-rc.1", "1.10.1+up5"))
	defer server.Close()
	for _, tt := range []struct{ version, want string }{
		{"", "app-1.10.1+up5"},
		{"1.2.0", "app-1.2.0"},
		{"~1.9", "app-1.9.3"},
		{">=1.0.0 <1.10.0", "app-1.9.3"},
		{"2.0.0-rc.1", "app-2.0.0-rc.1"},
		{">0.0.0-0", "app-2.0.0-rc.1"},
	} {
		for _, repository := range []string{server.URL + "/charts", server.URL + "/charts/"} {
			got, err := fetch(t, &Fetcher{}, Request{Chart: "app", Repo: repository, Version: tt.version})
			if err != nil || got != tt.want {
				t.Errorf("version %q of %s = %q, %v, want %q", tt.version, repository, got, err, tt.want)
			}
		}
	}
}

func TestErrorsSayWhereAndWhat(t *testing.T) {
	server := httptest.NewServer(chartRepo(t, "1.2.0"))
	defer server.Close()
	repository := server.URL + "/charts"
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>") }))
	defer html.Close()
	for _, tt := range []struct {
		name  string
		r     Request
		words []string
	}{
		{"nothing", Request{}, []string{"spec.chart", "spec.chartContent"}},
		{"no repository", Request{Chart: "app"}, []string{"spec.repo is empty"}},
		{"a chart that is not there", Request{Chart: "nope", Repo: repository}, []string{"nope", repository, `has no chart "nope"`}},
		{"a version that is not there", Request{Chart: "app", Repo: repository, Version: "^3"}, []string{"^3", "newest", "1.2.0"}},
		{"a version that is none", Request{Chart: "app", Repo: repository, Version: "latest"}, []string{"latest"}},
		{"a repository that is not there", Request{Chart: "app", Repo: server.URL + "/nope"}, []string{"/nope/index.yaml", "404"}},
		{"a server that does not answer", Request{Chart: "app", Repo: closed.URL}, []string{closed.URL, "connect"}},
		{"a web page", Request{Chart: "app", Repo: html.URL}, []string{html.URL, "expected the index of a chart repository"}},
		{"an archive that is none", Request{Chart: html.URL + "/app.tgz"}, []string{html.URL, "app.tgz"}},
		{"an OCI registry as repository", Request{Chart: "app", Repo: "oci://ghcr.io/charts"}, []string{"set spec.chart to oci://ghcr.io/charts/app"}},
		{"another scheme", Request{Chart: "git://example.com/app"}, []string{"expected https://"}},
		{"content that is no base64", Request{Content: "!!!"}, []string{"spec.chartContent", "base64"}},
		{"content that is no archive", Request{Content: "aGVsbG8="}, []string{"spec.chartContent", "archive"}},
		{"a static chart that is not there", Request{Chart: staticURL + "charts/app.tgz"}, []string{"charts/app.tgz", "put the chart's archive there"}},
		{"a CA that is none", Request{Chart: "app", Repo: repository, CA: []byte("hello")}, []string{"spec.repoCA", "PEM"}},
		{"a password in the URL", Request{Chart: "app", Repo: strings.Replace(closed.URL, "//", "//me:secret@", 1)}, []string{"me:xxxxx@"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := (&Fetcher{Static: t.TempDir()}).Fetch(t.Context(), tt.r)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q has no %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q has the password", err)
			}
		})
	}
}

func TestLibraryChartIsRefused(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(tgz(t, "lib", "1.0.0", "Chart.yaml", "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n"))
	if _, err := (&Fetcher{}).Fetch(t.Context(), Request{Content: text}); err == nil || !strings.Contains(err.Error(), "library") {
		t.Errorf("Fetch = %v, want an error that says library", err)
	}
}

func TestCredentialsGoToTheRepositoryOnly(t *testing.T) {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = w.Write(tgz(t, "app", "1.0.0"))
	}))
	defer files.Close()
	server := httptest.NewServer(withBasicAuth("me", "secret", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "entries:\n  app:\n  - name: app\n    version: 1.0.0\n    urls:\n    - "+files.URL+"/app.tgz\n")
	})))
	defer server.Close()
	r := Request{Chart: "app", Repo: server.URL}
	if _, err := fetch(t, &Fetcher{}, r); err == nil || !strings.Contains(err.Error(), "authSecret") {
		t.Errorf("without credentials: %v, want an error that names authSecret", err)
	}
	r.Username, r.Password = "me", "secret"
	if got, err := fetch(t, &Fetcher{}, r); err != nil || got != "app-1.0.0" {
		t.Errorf("with credentials: %q, %v", got, err)
	}
	r.PassCredentials = true
	if _, err := fetch(t, &Fetcher{}, r); err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("with authPassCredentials: %v, want the other host's refusal of credentials", err)
	}
}

func TestCertificatesAreCheckedAgainstTheGivenCA(t *testing.T) {
	server := httptest.NewUnstartedServer(chartRepo(t, "1.0.0"))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	r := Request{Chart: "app", Repo: server.URL + "/charts"}
	if _, err := fetch(t, &Fetcher{}, r); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA: %v, want an error about the certificate", err)
	}
	r.Insecure = true
	if got, err := fetch(t, &Fetcher{}, r); err != nil || got != "app-1.0.0" {
		t.Errorf("insecure: %q, %v", got, err)
	}
	r.Insecure, r.CA = false, append([]byte("# ours\n"), ca...)
	if got, err := fetch(t, &Fetcher{}, r); err != nil || got != "app-1.0.0" {
		t.Errorf("with the CA: %q, %v", got, err)
	}
}

func TestURLAndContent(t *testing.T) {
	raw := tgz(t, "app", "1.0.0")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	defer server.Close()
	if got, err := fetch(t, &Fetcher{}, Request{Chart: server.URL + "/x/app.tgz", Version: "ignored"}); err != nil || got != "app-1.0.0" {
		t.Errorf("URL: %q, %v", got, err)
	}
	text := base64.StdEncoding.EncodeToString(raw)
	wrapped := "\n" + text[:76] + "\n" + text[76:] + "\n"
	if got, err := fetch(t, &Fetcher{}, Request{Content: wrapped, Chart: "else", Repo: "http://127.0.0.1:1"}); err != nil || got != "app-1.0.0" {
		t.Errorf("content: %q, %v", got, err)
	}
}

func TestHugeArchiveIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for range maxArchive/len(block) + 1 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	if _, err := fetch(t, &Fetcher{}, Request{Chart: server.URL}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("Fetch = %v, want an error about the size", err)
	}
}

func TestCancelledFetchEnds(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Fetcher{}).Fetch(ctx, Request{Chart: "app", Repo: server.URL}); err == nil {
		t.Error("no error")
	}
}

func TestStaticFolderWinsOverPackagedCharts(t *testing.T) {
	dir := t.TempDir()
	f := &Fetcher{Static: dir, Packaged: fstest.MapFS{
		"app-1/Chart.yaml":        {Data: []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n")},
		"app-1/templates/cm.yaml": {Data: []byte("kind: ConfigMap\n")},
	}}
	r := Request{Chart: staticURL + "charts/app-1.tgz"}
	if got, err := fetch(t, f, r); err != nil || got != "app-1.0.0" {
		t.Fatalf("packaged: %q, %v", got, err)
	}
	before, err := f.Digest(r)
	if err != nil || before == "" {
		t.Fatalf("Digest = %q, %v", before, err)
	}
	if again, err := f.Digest(r); err != nil || again != before {
		t.Errorf("second Digest = %q, %v, want %q", again, err, before)
	}
	if err := os.MkdirAll(filepath.Join(dir, "charts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "charts", "app-1.tgz"), tgz(t, "app", "1.5.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := fetch(t, f, r); err != nil || got != "app-1.5.0" {
		t.Errorf("static: %q, %v", got, err)
	}
	if after, err := f.Digest(r); err != nil || after == before {
		t.Errorf("Digest of another chart = %q, %v, want another digest", after, err)
	}
	for _, name := range []string{"charts/../../secret.tgz", "charts/link.tgz", "../x.tgz", "/etc/passwd", "charts/.tgz", "charts/a/b.tgz"} {
		if err := os.WriteFile(filepath.Join(dir, "..", "secret.tgz"), tgz(t, "app", "6.6.6"), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink("../../secret.tgz", filepath.Join(dir, "charts", "link.tgz"))
		if got, err := fetch(t, f, Request{Chart: staticURL + name}); err == nil {
			t.Errorf("%s = %q, want an error", name, got)
		}
	}
	if d, err := f.Digest(Request{Chart: "app", Repo: "https://charts.example.com"}); err != nil || d != "" {
		t.Errorf("Digest of a remote chart = %q, %v, want none", d, err)
	}
}

// push puts a chart into a registry.
func push(t *testing.T, client *http.Client, base, name, tag string, config string, archive []byte, change func(*http.Request)) {
	t.Helper()
	do := func(method, url string, body []byte, contentType string, want int) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		if change != nil {
			change(req)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s %s: %s", method, url, resp.Status)
		}
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		do(http.MethodPost, base+"/v2/"+name+"/blobs/uploads/?digest="+d.String(), data, "application/octet-stream", http.StatusCreated)
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = blob(config, []byte("{}"))
	m.Layers = []ocispec.Descriptor{blob(helmregistry.ChartLayerMediaType, archive)}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	do(http.MethodPut, base+"/v2/"+name+"/manifests/"+tag, raw, ocispec.MediaTypeImageManifest, http.StatusCreated)
}

func TestOCIChart(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, v := range []string{"1.2.0", "1.10.0", "2.0.0-rc.1", "1.9.0+up1"} {
		push(t, server.Client(), server.URL, "charts/app", strings.ReplaceAll(v, "+", "_"), helmregistry.ConfigMediaType, tgz(t, "app", v), nil)
	}
	push(t, server.Client(), server.URL, "charts/app", "notes", helmregistry.ConfigMediaType, tgz(t, "app", "0.0.1"), nil)
	push(t, server.Client(), server.URL, "image", "1.0.0", ocispec.MediaTypeImageConfig, tgz(t, "app", "1.0.0"), nil)
	for _, tt := range []struct{ ref, version, want string }{
		{"/charts/app", "", "app-1.10.0"},
		{"/charts/app", "1.2.0", "app-1.2.0"},
		{"/charts/app", "1.9.0+up1", "app-1.9.0+up1"},
		{"/charts/app", "~1.9", "app-1.9.0+up1"},
		{"/charts/app", ">0.0.0-0", "app-2.0.0-rc.1"},
		{"/charts/app:1.2.0", "", "app-1.2.0"},
		{"/charts/app:1.2.0", "1.2.0", "app-1.2.0"},
		{"/charts/app:1.2.0", "1.3.0", ""},
		{"/charts/app", "3.0.0", ""},
		{"/charts/app", "^3", ""},
		{"/nope", "", ""},
		{"/image", "1.0.0", ""},
		{"/UPPER", "1.0.0", ""},
		{"", "1.0.0", ""},
	} {
		got, err := fetch(t, &Fetcher{}, Request{Chart: "oci://" + host + tt.ref, Version: tt.version, PlainHTTP: true})
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("oci://…%s version %q = %q, %v, want %q", tt.ref, tt.version, got, err, tt.want)
		}
	}
}

func TestOCIChartWithCredentialsAndCA(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	push(t, server.Client(), server.URL, "app", "1.0.0", helmregistry.ConfigMediaType, tgz(t, "app", "1.0.0"), func(r *http.Request) { r.SetBasicAuth("me", "secret") })
	r := Request{
		Chart: "oci://" + host + "/app", Version: "1.0.0",
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	if _, err := fetch(t, &Fetcher{}, r); err == nil {
		t.Error("without credentials: no error")
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	r.DockerConfig = fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)
	if got, err := fetch(t, &Fetcher{}, r); err != nil || got != "app-1.0.0" {
		t.Errorf("with dockerRegistrySecret: %q, %v", got, err)
	}
	r.DockerConfig = []byte("secret")
	if _, err := fetch(t, &Fetcher{}, r); err == nil || strings.Contains(err.Error(), "secret\"") || !strings.Contains(err.Error(), "dockerRegistrySecret") {
		t.Errorf("with a broken configuration: %v, want an error that names the field", err)
	}
	r.DockerConfig, r.Username, r.Password = nil, "me", "secret"
	if got, err := fetch(t, &Fetcher{}, r); err != nil || got != "app-1.0.0" {
		t.Errorf("with authSecret: %q, %v", got, err)
	}
}
