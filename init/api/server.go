package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/facts"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/machine"
)

// Limits of requests; package comment.
const (
	headerMax = 16 << 10
	// bodyMax bounds a body, configMax that of a configuration, in bytes.
	bodyMax   = 64 << 10
	configMax = 1 << 20
	// requestsMax and streamsMax are how many are served at once.
	requestsMax = 16
	streamsMax  = 100
	// frameMax and receiveMax bound, in bytes, what HTTP/2 keeps of a connection's bodies. A push is as fast as receiveMax a round trip.
	frameMax   = 16 << 10
	receiveMax = 512 << 10
)

// limits are times that clients have. Tests have shorter ones.
type limits struct {
	header time.Duration // for the handshake, and then for a header
	body   time.Duration // for a body
	answer time.Duration // to read an answer that is no stream
	stall  time.Duration // to read what a stream has written
	push   time.Duration // for a MiB of a pushed bundle
	idle   time.Duration // between two requests
}

var patience = limits{header: 10 * time.Second, body: 30 * time.Second, answer: time.Minute, stall: 30 * time.Second, push: time.Minute, idle: 2 * time.Minute}

// Places are a node's files and folders. Tests have others.
type Places struct {
	Roots      facts.Roots
	Logs       string // folder of the services' logs
	Config     string // folder of the configuration in force
	State      string // where the state partition is mounted
	Data       string // the Kubernetes node's folder, k3s's
	Kubeconfig string // the administrator's
	Resolv     string
	Pstore     string // the kernel's last words of earlier boots
	Record     string // folder of the record of upgrades
}

// System are a node's places.
var System = Places{
	Roots:      facts.System,
	Logs:       config.LogDir,
	Config:     config.Dir,
	State:      config.StateDir,
	Data:       config.StateDir + "/k3s",
	Kubeconfig: "/etc/rancher/k3s/k3s.yaml",
	Resolv:     config.ResolvFile,
	Pstore:     "/sys/fs/pstore",
	Record:     config.StateDir + "/keelson",
}

// Server is the machine API. Its fields must not change once Serve was called.
type Server struct {
	Config  *config.Config // in force
	Places  Places
	Control control.Client // PID 1
	Slots   Slots
	Boot    handoff.Boot
	System  running.System
	Log     *slog.Logger
	Now     func() time.Time

	limits   limits
	known    known
	identity *identity
	requests chan struct{}
	streams  chan struct{}
	ending   context.Context
	// changing is held while the configuration or certificates are changed.
	changing sync.Mutex
}

// New checks the machine CA and makes the server certificate. Fields are set by the caller before Serve; zero ones get what a node has.
// ErrNoCA: the configuration has no machine CA, so nobody could be let in.
func New(c *config.Config) (*Server, error) {
	if c.Secrets == nil || c.Secrets.MachineCA.Cert == "" {
		return nil, ErrNoCA
	}
	s := &Server{Config: c, Places: System, Log: slog.Default(), Now: time.Now, limits: patience}
	host, err := os.Hostname()
	if err != nil {
		host = "keelson"
	}
	s.identity, err = newIdentity(c.Secrets.MachineCA, host, func() time.Time { return s.Now() })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ErrNoCA says that the node has no machine CA: that of an agent's configuration is on the servers.
var ErrNoCA = errors.New("the configuration has no machine CA (secrets: machine-ca), so this node can let nobody in: there is no machine API")

// Serve serves outside, the TCP port, by TLS, and inside, the unix socket, until ctx ends. Either may be nil. It closes both.
func (s *Server) Serve(ctx context.Context, outside, inside net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ending = ctx
	s.requests, s.streams = make(chan struct{}, requestsMax), make(chan struct{}, streamsMax)
	handler := s.handler()
	ended := make(chan error, 2)
	n := 0
	run := func(h *http.Server, serve func() error) {
		n++
		go func() { ended <- serve() }()
		context.AfterFunc(ctx, func() { h.Close() })
	}
	if outside != nil {
		l := newLimiter(outside)
		h := s.server(handler)
		h.Protocols.SetHTTP1(true)
		h.Protocols.SetHTTP2(true)
		h.TLSConfig = s.identity.config()
		h.ConnState = func(c net.Conn, state http.ConnState) {
			// The first request has begun, so the handshake is over, with a proof that the client has its certificate's key:
			// tls.Config's callbacks come before that.
			if t, ok := c.(*tls.Conn); ok && state == http.StateActive {
				l.trust(t.NetConn())
			}
		}
		run(h, func() error { return h.ServeTLS(l, "", "") })
	}
	if inside != nil {
		h := s.server(handler)
		h.Protocols.SetHTTP1(true)
		h.Protocols.SetUnencryptedHTTP2(true)
		h.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, localKey{}, true) }
		run(h, func() error { return h.Serve(inside) })
	}
	var err error
	for range n {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		cancel()
	}
	return err
}

func (s *Server) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		Protocols:         new(http.Protocols),
		MaxHeaderBytes:    headerMax,
		ReadHeaderTimeout: s.limits.header,
		IdleTimeout:       s.limits.idle,
		ErrorLog:          slog.NewLogLogger(quiet(s.Log.Handler()), slog.LevelInfo),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streamsMax,
			MaxReadFrameSize:              frameMax,
			MaxReceiveBufferPerConnection: receiveMax,
			MaxReceiveBufferPerStream:     receiveMax,
			MaxDecoderHeaderTableSize:     4 << 10,
			MaxEncoderHeaderTableSize:     4 << 10,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              s.limits.stall,
		},
	}
}

// Listen opens the TCP port on every address.
func Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(machine.Port)))
	if err != nil {
		return nil, fmt.Errorf("machine API: %w", err)
	}
	return l, nil
}
