package registries

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	hostsconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/keelson-os/keelson/config"
)

func parse(t *testing.T, text string) *config.Registries {
	t.Helper()
	c, err := config.ParseRegistries("registries.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asContainerd returns what containerd reads from dir for a registry.
func asContainerd(t *testing.T, dir, registry string, auths map[string]config.RegistryAuth) []docker.RegistryHost {
	t.Helper()
	hosts, err := hostsconfig.ConfigureHosts(t.Context(), hostsconfig.HostOptions{
		HostDir: hostsconfig.HostDirFromRoot(dir),
		Credentials: func(host string) (string, string, error) { // as the CRI's ParseAuth
			a := auths[host]
			return a.Username, a.Password + a.IdentityToken, nil
		},
	})(registry)
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

func urls(hosts []docker.RegistryHost) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Scheme+"://"+h.Host+h.Path)
	}
	return strings.Join(out, " ")
}

func TestContainerdReadsTheHosts(t *testing.T) {
	const text = `
mirrors:
  docker.io: {endpoint: [https://a.example:5000, "http://b.example/proxy/v2", c.example, "localhost:5001", "https://a.example:5000/v2"]}
  quay.io: {endpoint: [https://quay.io]}
  r.example:443: {endpoint: [https://d.example]}
  "*": {endpoint: [https://e.example]}
configs:
  a.example:5000: {tls: {insecure_skip_verify: true}}
  ghcr.io: {tls: {insecure_skip_verify: true}}
`
	for _, c := range []struct {
		registry  string
		noDefault bool
		want      string
	}{
		{"docker.io", false, "https://a.example:5000/v2 http://b.example/proxy/v2 https://c.example/v2 http://localhost:5001/v2 https://registry-1.docker.io/v2"},
		{"docker.io", true, "https://a.example:5000/v2 http://b.example/proxy/v2 https://c.example/v2 http://localhost:5001/v2"},
		{"quay.io", false, "https://quay.io/v2"},
		{"r.example:443", false, "https://d.example/v2 https://r.example:443/v2"},
		{"x.example", false, "https://e.example/v2 https://x.example/v2"},
		{"x.example", true, "https://e.example/v2"},
		{"ghcr.io", false, "https://e.example/v2 https://ghcr.io/v2"},
	} {
		dir := t.TempDir()
		r := New(Options{Dir: dir, Section: parse(t, text), File: filepath.Join(dir, "none"), NoDefaultEndpoint: c.noDefault, Log: slog.New(slog.DiscardHandler)})
		if err := r.Setup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := urls(asContainerd(t, dir, c.registry, nil)); got != c.want {
			t.Errorf("hosts of %s (noDefault %t) = %s, want %s", c.registry, c.noDefault, got, c.want)
		}
	}
}

// TestOwnEntryHidesTheDefaultTLS is the example of k3s's documentation.
func TestOwnEntryHidesTheDefaultTLS(t *testing.T) {
	dir := t.TempDir()
	c := parse(t, "mirrors: {\"*\": {endpoint: [https://r.example:5000]}}\nconfigs:\n  docker.io:\n  \"*\": {tls: {insecure_skip_verify: true}}\n")
	if err := write(dir, build(c, false)); err != nil {
		t.Fatal(err)
	}
	for registry, want := range map[string][]bool{"docker.io": {true, false}, "quay.io": {true, true}} {
		for i, h := range asContainerd(t, dir, registry, nil) {
			tr, ok := h.Client.Transport.(*http.Transport)
			if !ok || tr.TLSClientConfig.InsecureSkipVerify != want[i] {
				t.Errorf("%s host %d (%s) skips verification: %t, want %t", registry, i, h.Host, !want[i], want[i])
			}
		}
	}
}

func TestWriteLeavesOthersAloneAndRemovesItsOwn(t *testing.T) {
	dir := t.TempDir()
	others := filepath.Join(dir, "others.example", "hosts.toml")
	if err := os.MkdirAll(filepath.Dir(others), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(others, []byte("server = \"https://others.example\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := parse(t, "mirrors: {docker.io: {endpoint: [https://a.example]}, quay.io: {endpoint: [https://a.example]}}\n")
	if err := write(dir, build(c, false)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "docker.io", "hosts.toml")
	old := time.Unix(1000, 0)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	delete(c.Mirrors, "quay.io")
	if err := write(dir, build(c, false)); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || !st.ModTime().Equal(old) || st.Mode().Perm() != 0o600 {
		t.Errorf("unchanged file: %v, %v, want it untouched and 0600", st, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "quay.io")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("quay.io is still there: %v", err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Errorf("another's folder: %v, want it left alone", err)
	}
}

func TestFileIsReadWithoutASection(t *testing.T) {
	dir := t.TempDir()
	file, certs := filepath.Join(dir, "registries.yaml"), filepath.Join(dir, "certs.d")
	setup := func(section *config.Registries) string {
		t.Helper()
		r := New(Options{Dir: certs, Section: section, File: file, Log: slog.New(slog.DiscardHandler)})
		if err := r.Setup(t.Context()); err != nil {
			t.Fatal(err)
		}
		return urls(asContainerd(t, certs, "quay.io", nil))
	}
	const plain = "https://quay.io/v2"
	if got := setup(nil); got != plain {
		t.Errorf("no file: %s, want %s", got, plain)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("mirrors: {quay.io: {endpoint: [https://a.example]}}\n")
	if got, want := setup(nil), "https://a.example/v2 "+plain; got != want {
		t.Errorf("file: %s, want %s", got, want)
	}
	put("mirors: {}\n")
	if got, want := setup(nil), "https://a.example/v2 "+plain; got != want {
		t.Errorf("file with a mistake: %s, want what was before: %s", got, want)
	}
	if got, want := setup(parse(t, "mirrors: {quay.io: {endpoint: [https://b.example]}}\n")), "https://b.example/v2 "+plain; got != want {
		t.Errorf("section and file: %s, want the section's: %s", got, want)
	}
	var list *config.Errors
	if _, err := Load(file); !errors.As(err, &list) {
		t.Errorf("Load = %v, want the mistakes", err)
	}
}

// serve runs a registry over TLS that wants a name and a password, with one image, and
// returns its host and its certificate.
func serve(t *testing.T, repository string) (host, ca string) {
	t.Helper()
	inner := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || user != "me" || pass != "hunter2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	host = strings.TrimPrefix(s.URL, "https://")
	// The manifest is all that is pulled here; what it names need not be there.
	put := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/1", strings.NewReader(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}`))
	put.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	rec := httptest.NewRecorder()
	if inner.ServeHTTP(rec, put); rec.Code != http.StatusCreated {
		t.Fatalf("push: %d %s", rec.Code, rec.Body)
	}
	return host, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// pull resolves docker.io/library/app:1 and reads its manifest as containerd does.
func pull(t *testing.T, dir string, auths map[string]config.RegistryAuth) error {
	t.Helper()
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		return asContainerd(t, dir, host, auths), nil
	}})
	const ref = "docker.io/library/app:1"
	_, desc, err := resolver.Resolve(t.Context(), ref)
	if err != nil {
		return err
	}
	fetcher, err := resolver.Fetcher(t.Context(), ref)
	if err != nil {
		return err
	}
	body, err := fetcher.Fetch(t.Context(), desc)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err == nil && int64(len(data)) != desc.Size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, body.Close())
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n        ")
}

func TestPull(t *testing.T) {
	for _, c := range []struct {
		name, repository, rewrite string
		auth                      string // below configs
		fails                     bool
	}{
		{name: "mirror with CA and password", repository: "library/app", auth: "auth: {username: me, password: hunter2}"},
		{name: "base64", repository: "library/app", auth: "auth: {auth: bWU6aHVudGVyMg==}"},
		{name: "wrong password", repository: "library/app", auth: "auth: {username: me, password: wrong}", fails: true},
		{name: "rewrite", repository: "mirror/dockerhub/app", rewrite: `{"^nothing/(.*)": "x/$1", "^library/(.*)": "mirror/dockerhub/$1", ".*": "never"}`, auth: "auth: {username: me, password: hunter2}"},
		{name: "rewrite that does not match", repository: "library/app", rewrite: `{"^other/(.*)": "x/$1"}`, auth: "auth: {username: me, password: hunter2}"},
		{name: "rewrite with the pod's credentials", repository: "mirror/app", rewrite: `{"^library/(.*)": "mirror/$1"}`},
		{name: "rewrite with a wrong password", repository: "mirror/app", rewrite: `{"^library/(.*)": "mirror/$1"}`, auth: "auth: {username: me, password: wrong}", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, ca := serve(t, c.repository)
			text := "mirrors:\n  docker.io:\n    endpoint: [\"https://" + host + "\"]\n"
			if c.rewrite != "" {
				text += "    rewrite: " + c.rewrite + "\n"
			}
			text += "configs:\n  " + host + ":\n    tls:\n      ca: |\n        " + indent(ca) + "\n"
			if c.auth != "" {
				text += "    " + c.auth + "\n"
			}
			dir := t.TempDir()
			r := New(Options{Dir: dir, Section: parse(t, text), NoDefaultEndpoint: true, Log: slog.New(slog.DiscardHandler)})
			if err := r.Setup(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			credentials := r.Auths()
			if c.auth == "" { // whatever host is spoken to
				credentials = map[string]config.RegistryAuth{}
				for _, h := range asContainerd(t, dir, "docker.io", nil) {
					credentials[h.Host] = config.RegistryAuth{Username: "me", Password: "hunter2"}
				}
			}
			if err := pull(t, dir, credentials); (err != nil) != c.fails {
				t.Errorf("pull = %v, want failure %t", err, c.fails)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			for _, file := range []string{"hosts.toml"} {
				text, err := os.ReadFile(filepath.Join(dir, "docker.io", file))
				if err != nil || strings.Contains(string(text), "hunter2") {
					t.Errorf("%s: %v, want it without the password", file, err)
				}
			}
		})
	}
}

func TestRewriterServesContainerdOnly(t *testing.T) {
	w, err := newRewriter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.listener.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct {
		name, method, pass, path string
		want                     int
	}{
		{"no password", http.MethodGet, "", "/docker.io/server/a/manifests/1", http.StatusForbidden},
		{"wrong password", http.MethodGet, "x", "/docker.io/server/a/manifests/1", http.StatusForbidden},
		{"a push", http.MethodPut, w.pass, "/docker.io/server/a/manifests/1", http.StatusMethodNotAllowed},
		{"no such mirror", http.MethodGet, w.pass, "/docker.io/server/a/manifests/1", http.StatusNotFound},
		{"nothing", http.MethodGet, w.pass, "/", http.StatusNotFound},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		req.Header.Set(passHeader, c.pass)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, req)
		if rec.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, rec.Code, c.want)
		}
	}
}

func TestCredentialsOfDockerHubAreForItsRealHost(t *testing.T) {
	got := auths(parse(t, "configs: {docker.io: {auth: {username: me, password: x}}}\n"))
	if got["registry-1.docker.io"].Username != "me" {
		t.Errorf("auths = %v, want registry-1.docker.io among them", got)
	}
}

// TestRewriterAsksForATokenOfTheNewName has a registry with a token server, as most public
// ones have, which sends blobs elsewhere.
func TestRewriterAsksForATokenOfTheNewName(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get(passHeader) != "" {
			t.Errorf("a stranger was shown %v", r.Header)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer elsewhere.Close()
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	defer s.Close()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		user, pass, basic := r.BasicAuth()
		if !basic {
			user, pass = r.Form.Get("username"), r.Form.Get("password")
		}
		if user != "me" || pass != "hunter2" || !strings.Contains(r.Form.Get("scope"), "repository:mirror/app:pull") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"token": "ticket", "access_token": "ticket"}`)
	})
	mux.HandleFunc("/v2/mirror/app/blobs/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer ticket" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token",service="test",scope="repository:mirror/app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if got := r.URL.Query().Get("ns"); got != "docker.io" {
			t.Errorf("ns = %q, want the registry's name", got)
		}
		http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect)
	})
	host := strings.TrimPrefix(s.URL, "http://")
	hosts := build(parse(t, "mirrors: {docker.io: {endpoint: [\""+s.URL+"\"], rewrite: {\"^library/(.*)\": \"mirror/$1\"}}}\nconfigs: {\""+host+"\": {auth: {username: me, password: hunter2}}}\n"), false)
	w, err := newRewriter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.takeOver(&hosts[len(hosts)-1])
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	for range 2 { // the second time with the token that is known
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, hosts[len(hosts)-1].endpoints[0].url+"/library/app/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a?ns=docker.io", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(passHeader, w.pass)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK || string(body) != "{}" {
			t.Errorf("blob: %s %q, %v", resp.Status, body, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
