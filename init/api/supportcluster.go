package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

// clusterLimit is how long the API server may take for its part of a support archive.
const clusterLimit = 10 * time.Second

// asTable is kubectl's own way to ask for what it prints. Objects are left out: pods may have secrets in their environment.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

// clusterParts are Kubernetes' events and lists of its nodes and pods, where there is an API server that answers.
func (s *Server) clusterParts() []part {
	var parts []part
	for _, x := range []struct{ name, path string }{
		{"kubernetes/events.json", "/api/v1/events?limit=500&includeObject=None"},
		{"kubernetes/nodes.json", "/api/v1/nodes?limit=500&includeObject=None"},
		{"kubernetes/pods.json", "/api/v1/pods?limit=500&includeObject=None"},
		{"kubernetes/upgrades.json", "/apis/keelson.dev/v1alpha1/upgrades?limit=100&includeObject=None"},
		{"kubernetes/readyz.txt", "/readyz?verbose"},
	} {
		parts = append(parts, part{x.name, func(ctx context.Context, w io.Writer) error { return s.askCluster(ctx, x.path, w) }})
	}
	return parts
}

// askCluster asks this node's API server, as its administrator.
func (s *Server) askCluster(ctx context.Context, path string, w io.Writer) error {
	folder := filepath.Join(s.Places.Data, "server/tls")
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "client-admin.crt"), filepath.Join(folder, "client-admin.key"))
	if err != nil {
		return fmt.Errorf("there is no API server on this node, or it was never started: %w", err)
	}
	ca, err := readCertificates(filepath.Join(folder, "server-ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	for _, c := range ca {
		pool.AddCert(c)
	}
	ctx, cancel := context.WithTimeout(ctx, clusterLimit)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool}}
	defer transport.CloseIdleConnections()
	url := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Config.Cluster.HTTPSListenPort)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", asTable+", application/json, text/plain")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, io.LimitReader(resp.Body, partMax))
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("the API server answered %s", resp.Status))
	}
	return err
}
