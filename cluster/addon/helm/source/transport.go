package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
)

const (
	// requestLimit is how long one request may take, body and redirects included. It is helm's.
	requestLimit = 2 * time.Minute
	userAgent    = "Helm/4 (Keelson)"
)

// transport speaks for one Request. Its connections end with close.
type transport struct {
	client *http.Client
	inner  *http.Transport
	origin *url.URL // whose host the credentials are for; nil: nobody's
	r      Request
}

// transport checks the request's certificates and keys.
func (r Request) transport() (*transport, error) {
	conf := &tls.Config{InsecureSkipVerify: r.Insecure} //nolint:gosec // the user's word
	if len(r.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(r.CA) {
			return nil, errors.New("spec.repoCA or spec.repoCAConfigMap: found no certificate, expected PEM blocks of type CERTIFICATE")
		}
		conf.RootCAs = pool
	}
	if len(r.ClientCert) > 0 || len(r.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(r.ClientCert, r.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("spec.authSecret: tls.crt and tls.key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	place := r.Repo
	if strings.Contains(r.Chart, "://") {
		place = r.Chart
	}
	origin, err := url.Parse(place)
	if err != nil {
		return nil, errors.New("spec.repo or spec.chart: expected a URL such as https://charts.example.com/stable")
	}
	inner := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ForceAttemptHTTP2:     true,
	}
	return &transport{
		client: &http.Client{Transport: inner, Timeout: requestLimit},
		inner:  inner, origin: origin, r: r,
	}, nil
}

func (t *transport) close() { t.inner.CloseIdleConnections() }

// get opens a URL. Credentials go to the repository's own host, unless the user wants
// them everywhere; a redirect to another host never has them, net/http sees to that.
func (t *transport) get(ctx context.Context, address string) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL, expected one such as https://charts.example.com/stable", redact(address))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	if t.r.Username != "" && t.r.Password != "" && (t.r.PassCredentials || u.Scheme == t.origin.Scheme && u.Host == t.origin.Host) {
		req.SetBasicAuth(t.r.Username, t.r.Password)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err // has the URL, its password redacted
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		hint := ""
		switch resp.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			hint = ": set spec.authSecret to a Secret with the keys username and password"
		}
		return nil, fmt.Errorf("GET %s: the server says %q, expected 200 OK%s", u.Redacted(), resp.Status, hint)
	}
	return resp.Body, nil
}

// archive gets a chart's archive from a URL.
func (t *transport) archive(ctx context.Context, address string) (*chart.Chart, error) {
	body, err := t.get(ctx, address)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	c, err := load(body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", redact(address), err)
	}
	return c, nil
}
