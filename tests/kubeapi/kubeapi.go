// Package kubeapi is the smallest client of the Kubernetes API that "keelson run" and the
// scenarios need: a kubeconfig with client certificates, GET, and whether a node is
// ready. It exists so that the CLI does not link Kubernetes' own client.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Client talks to one API server. Safe for concurrent use.
type Client struct {
	server string
	http   *http.Client
}

// kubeconfigFile is the part of a kubeconfig that is read.
type kubeconfigFile struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string `yaml:"name"`
		Cluster struct {
			Server string `yaml:"server"`
			CA     string `yaml:"certificate-authority-data"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User struct {
			Cert string `yaml:"client-certificate-data"`
			Key  string `yaml:"client-key-data"`
		} `yaml:"user"`
	} `yaml:"users"`
}

// New makes a client from a kubeconfig whose certificates are inline. server, when not
// empty, replaces its URL.
func New(kubeconfig []byte, server string) (*Client, error) {
	var f kubeconfigFile
	if err := yaml.Unmarshal(kubeconfig, &f); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	var cluster, user string
	for _, c := range f.Contexts {
		if c.Name == f.CurrentContext {
			cluster, user = c.Context.Cluster, c.Context.User
		}
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	found := 0
	for _, c := range f.Clusters {
		if c.Name != cluster {
			continue
		}
		found++
		if server == "" {
			server = c.Cluster.Server
		}
		ca, err := base64.StdEncoding.DecodeString(c.Cluster.CA)
		if err != nil || !tc.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("kubeconfig: certificate-authority-data holds no certificate")
		}
	}
	for _, u := range f.Users {
		if u.Name != user {
			continue
		}
		found++
		cert, err1 := base64.StdEncoding.DecodeString(u.User.Cert)
		key, err2 := base64.StdEncoding.DecodeString(u.User.Key)
		pair, err3 := tls.X509KeyPair(cert, key)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("kubeconfig: client certificate of %s: %w", user, err)
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	if found != 2 {
		return nil, fmt.Errorf("kubeconfig: its current context %q does not name one cluster and one user", f.CurrentContext)
	}
	return &Client{server: strings.TrimSuffix(server, "/"), http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: tc, DisableKeepAlives: true},
	}}, nil
}

// Load is New for a file.
func Load(path, server string) (*Client, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := New(data, server)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Server is the URL of the API server, without a slash at its end.
func (c *Client) Server() string { return c.server }

// HTTP is the client below, with the kubeconfig's credentials, for requests that this
// package does not make.
func (c *Client) HTTP() *http.Client { return c.http }

// WithServer returns a kubeconfig that is the same but for the URL of its API server.
func WithServer(kubeconfig []byte, server string) ([]byte, error) {
	c, err := New(kubeconfig, "")
	if err != nil {
		return nil, err
	}
	return serverLine.ReplaceAllFunc(kubeconfig, func(line []byte) []byte {
		if m := serverLine.FindSubmatch(line); string(m[2]) == c.server {
			return append(bytes.Clone(m[1]), server...)
		}
		return line // another cluster's
	}), nil
}

// serverLine matches a cluster's URL in a kubeconfig, with or without quotes and a slash.
var serverLine = regexp.MustCompile(`(?m)^([ -]*server: *)["']?([^"'\s]+?)/?["']?[ \r]*$`)

// StatusError is an answer other than 200.
type StatusError struct {
	Path string
	Code int
	Body string // its first 300 bytes
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("GET %s: %d %s: %s", e.Path, e.Code, http.StatusText(e.Code), e.Body)
}

// Raw gets a path, such as /readyz, and returns the body of a 200.
func (c *Client) Raw(ctx context.Context, path string) (_ []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which the path below repeats
		}
		return nil, fmt.Errorf("GET %s%s: %w", c.server, path, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("GET %s%s: %w", c.server, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{Path: path, Code: resp.StatusCode, Body: string(body[:min(300, len(body))])}
	}
	return body, nil
}

// Get decodes the JSON at a path.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	body, err := c.Raw(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// Node is what one wants to see of a node at a glance.
type Node struct {
	Name    string
	UID     string
	Ready   bool
	Why     string // of the Ready condition, when it is not true
	Version string // the kubelet's
	Address string // its internal IP
}

// Nodes lists the cluster's nodes.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"metadata"`
			Status struct {
				Conditions []struct {
					Type    string `json:"type"`
					Status  string `json:"status"`
					Message string `json:"message"`
				} `json:"conditions"`
				Addresses []struct {
					Type    string `json:"type"`
					Address string `json:"address"`
				} `json:"addresses"`
				NodeInfo struct {
					KubeletVersion string `json:"kubeletVersion"`
				} `json:"nodeInfo"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := c.Get(ctx, "/api/v1/nodes", &list); err != nil {
		return nil, err
	}
	var out []Node
	for _, i := range list.Items {
		n := Node{Name: i.Metadata.Name, UID: i.Metadata.UID, Version: i.Status.NodeInfo.KubeletVersion}
		for _, a := range i.Status.Addresses {
			if a.Type == "InternalIP" && n.Address == "" {
				n.Address = a.Address
			}
		}
		for _, x := range i.Status.Conditions {
			if x.Type == "Ready" {
				n.Ready, n.Why = x.Status == "True", x.Message
			}
		}
		if n.Ready {
			n.Why = ""
		}
		out = append(out, n)
	}
	return out, nil
}

// WaitReady asks every second until the API shows at least one node and all are ready.
// When ctx ends it returns the last reason.
func (c *Client) WaitReady(ctx context.Context) ([]Node, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		nodes, err := c.Nodes(ctx)
		switch {
		case err != nil:
		case len(nodes) == 0:
			err = errors.New("the API lists no node")
		default:
			for _, n := range nodes {
				if !n.Ready {
					err = fmt.Errorf("node %s is not ready: %s", n.Name, n.Why)
				}
			}
		}
		if err == nil {
			return nodes, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a ready node: %w: %w", context.Cause(ctx), err)
		}
	}
}
