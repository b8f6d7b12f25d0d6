package machine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Config is how to reach a node.
type Config struct {
	Address string // host, host:port, [IPv6]:port; the port defaults to Port
	CA      []byte // the machine CA's certificate, PEM
	Cert    []byte // the client's certificate, PEM
	Key     []byte // its private key, PEM
}

// Client asks one node. Its methods may be called by several goroutines at once.
type Client struct {
	base string // "https://host:port"
	http *http.Client
}

const (
	// dialLimit bounds the connection and, apart from it, the handshake.
	dialLimit = 10 * time.Second
	// silence is how long a connection may be silent before it is pinged, and how long the answer may take.
	silence = 15 * time.Second
)

// Dial returns a client of a node's port. It does not connect yet. Errors are about the certificates and the address.
func Dial(c Config) (*Client, error) {
	address, err := WithPort(c.Address)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("machine CA: no certificate in it; expected PEM text")
	}
	transport := newTransport()
	transport.TLSClientConfig = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ServerName:   ServerName,
	}
	return &Client{base: "https://" + address, http: newHTTP(transport)}, nil
}

// Local returns a client of the machine API's unix socket on this node. It does not connect yet.
func Local(socket string) *Client {
	transport := newTransport()
	// A push reads and writes at once, which HTTP/1 cannot be relied on for.
	transport.Protocols.SetHTTP2(false)
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "unix", socket)
	}
	return &Client{base: "http://" + ServerName, http: newHTTP(transport)}
}

func newTransport() *http.Transport {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialLimit, KeepAlive: silence}).DialContext,
		TLSHandshakeTimeout: dialLimit,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
		HTTP2:               &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence},
	}
	t.Protocols.SetHTTP2(true)
	return t
}

func newHTTP(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Address returns host:port of the node; of a unix socket the name in its requests.
func (c *Client) Address() string {
	_, address, _ := strings.Cut(c.base, "://")
	return address
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// WithPort completes an address, as people write it, with the machine API's port.
func WithPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), strconv.Itoa(Port)
		if strings.Contains(host, ":") && net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
			return "", fmt.Errorf("address %q: want a host name or an IP address, with or without a port", address)
		}
	}
	n, err := strconv.Atoi(port)
	if host == "" || strings.ContainsAny(host, "/?#@ []") || err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("address %q: want a host name or an IP address, with or without a port", address)
	}
	return net.JoinHostPort(host, port), nil
}
