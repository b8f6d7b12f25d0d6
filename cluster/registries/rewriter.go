package registries

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/keelson-os/keelson/config"
)

// passHeader carries the password that containerd shows to the rewriter.
const passHeader = "X-Keelson-Pass"

// rewriter is a proxy for containerd alone: it asks the mirrors that have rewrites, under
// the rewritten name and with their credentials.
//
// It listens on the loopback address, which every process of the host network can reach.
// So that no other can pull with the mirrors' credentials, requests must have a password
// that is made at each start and is only in this process and in hosts.toml, which root
// alone can read.
type rewriter struct {
	listener net.Listener
	pass     string
	routes   map[string]*route // by the first two parts of the path
	log      *slog.Logger
}

// route is one endpoint with rewrites.
type route struct {
	target   *url.URL
	rewrites []config.Rewrite
	tls      *config.RegistryTLS
	auth     *config.RegistryAuth

	mu     sync.Mutex
	client *http.Client
	signer docker.Authorizer // nil without credentials
}

func newRewriter(log *slog.Logger) (*rewriter, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &rewriter{listener: l, pass: rand.Text(), routes: map[string]*route{}, log: log}, nil
}

// takeOver puts the rewriter in the place of the host's endpoints that have rewrites.
func (w *rewriter) takeOver(h *host) {
	for i := range h.endpoints {
		w.replace(&h.endpoints[i], h.dir()+"/"+strconv.Itoa(i))
	}
	w.replace(&h.server, h.dir()+"/server")
}

func (w *rewriter) replace(e *endpoint, path string) {
	if len(e.rewrites) == 0 {
		return
	}
	target, err := url.Parse(e.url)
	if err != nil { // made by resolve
		return
	}
	w.routes[path] = &route{target: target, rewrites: e.rewrites, tls: e.tls, auth: e.auth}
	*e = endpoint{
		url:      "http://" + w.listener.Addr().String() + "/" + path,
		override: true,
		header:   http.Header{passHeader: {w.pass}},
	}
}

// run serves until ctx ends.
func (w *rewriter) run(ctx context.Context) error {
	s := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn)}
	stop := context.AfterFunc(ctx, func() {
		if err := s.Close(); err != nil {
			w.log.Warn("registries: close", "err", err)
		}
	})
	defer stop()
	if err := s.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("registries: %w", err)
	}
	return nil
}

// ServeHTTP answers /<folder>/<endpoint>/<what a registry has below /v2/>.
func (w *rewriter) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if subtle.ConstantTimeCompare([]byte(req.Header.Get(passHeader)), []byte(w.pass)) != 1 {
		http.Error(rw, "this port is for the node's own containerd", http.StatusForbidden)
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(rw, "only pulls are rewritten", http.StatusMethodNotAllowed)
		return
	}
	parts := strings.SplitN(strings.TrimPrefix(req.URL.Path, "/"), "/", 3)
	if len(parts) < 2 || w.routes[parts[0]+"/"+parts[1]] == nil {
		http.NotFound(rw, req)
		return
	}
	r := w.routes[parts[0]+"/"+parts[1]]
	rest := ""
	if len(parts) == 3 {
		rest = parts[2]
	}
	rest, repository := r.rewritten(rest)
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.Header.Del(passHeader)
			p.Out.Host, p.Out.RequestURI = "", ""
			p.Out.URL = &url.URL{Scheme: r.target.Scheme, Host: r.target.Host, Path: strings.TrimSuffix(r.target.Path, "/") + "/" + rest, RawQuery: p.In.URL.RawQuery}
		},
		Transport: roundTripper(func(out *http.Request) (*http.Response, error) { return r.do(out, repository) }),
		ErrorLog:  slog.NewLogLogger(w.log.Handler(), slog.LevelWarn),
		ErrorHandler: func(rw http.ResponseWriter, req *http.Request, err error) {
			if req.Context().Err() == nil {
				w.log.Warn("mirror not reached", "mirror", r.target.Host, "repository", repository, "err", err)
			}
			rw.WriteHeader(http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(rw, req)
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip is the function itself.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// pullRE is what containerd asks for when it pulls.
// Source: OCI distribution specification 1.1, "Pull" and "Listing Referrers".
var pullRE = regexp.MustCompile(`^(.+)/(manifests|blobs|referrers)/([^/]+)$`)

// rewritten returns the path below /v2/ with the repository's new name, and that name.
// Of several rewrites the first that matches counts.
func (r *route) rewritten(rest string) (path, repository string) {
	m := pullRE.FindStringSubmatch(rest)
	if m == nil {
		return rest, ""
	}
	repository = m[1]
	for _, x := range r.rewrites {
		if x.Match.MatchString(repository) {
			repository = x.Match.ReplaceAllString(repository, x.Replace)
			break
		}
	}
	return repository + "/" + m[2] + "/" + m[3], repository
}

// do asks the mirror. Redirects are followed here, with the mirror's TLS settings. With
// credentials of our own, challenges are answered here too; otherwise, and when ours are
// refused, they go back to containerd, which has those of the pod.
func (r *route) do(req *http.Request, repository string) (*http.Response, error) {
	client, signer, err := r.connect()
	if err != nil {
		return nil, err
	}
	if signer == nil || req.Header.Get("Authorization") != "" {
		return client.Do(req)
	}
	ctx := docker.WithScope(req.Context(), "repository:"+repository+":pull")
	var answers []*http.Response
	for {
		try := req.Clone(ctx)
		if err := signer.Authorize(ctx, try); err != nil {
			return nil, err
		}
		resp, err := client.Do(try)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		answers = append(answers, resp)
		if len(answers) > 2 || signer.AddResponses(ctx, answers) != nil {
			return resp, nil
		}
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
	}
}

// connect makes the client when it is first needed: its files may come after the start.
func (r *route) connect() (*http.Client, docker.Authorizer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, r.signer, nil
	}
	c := &tls.Config{}
	if r.tls != nil {
		c.InsecureSkipVerify = r.tls.InsecureSkipVerify
		ca, cert, key, err := pems(r.tls)
		if err != nil {
			return nil, nil, err
		}
		if len(ca) > 0 {
			pool, err := x509.SystemCertPool()
			if err != nil {
				return nil, nil, err
			}
			if !pool.AppendCertsFromPEM(ca) {
				return nil, nil, fmt.Errorf("%s: no certificate in it", r.tls.CAFile)
			}
			c.RootCAs = pool
		}
		if len(cert) > 0 {
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				return nil, nil, fmt.Errorf("client certificate for %s: %w", r.target.Host, err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
	}
	transport := docker.DefaultHTTPTransport(c)
	transport.DisableCompression = true // what a digest is about must not be changed
	r.client = &http.Client{Transport: transport}
	if r.auth != nil {
		credentials := func(host string) (string, string, error) {
			if host != r.target.Host { // a redirect led elsewhere
				return "", "", nil
			}
			return r.auth.Username, r.auth.Password + r.auth.IdentityToken, nil // one of the two is set
		}
		r.signer = docker.NewDockerAuthorizer(docker.WithAuthClient(r.client), docker.WithAuthCreds(credentials))
	}
	return r.client, r.signer, nil
}
