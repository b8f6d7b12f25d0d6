package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// Port is where the server listens, on Options.Address only. The packaged EndpointSlice
// has it too.
const Port = 10251

// Options are what the metrics server needs to know of the node.
type Options struct {
	// Address is what it listens on: the one in the packaged EndpointSlice.
	Address netip.Addr
	// TLS is the folder of the control plane's certificates. They must be there.
	TLS string
	// Config reaches the API server with all rights. The API server need not be up yet.
	Config *rest.Config
	// Factory's Node informer is shared. Run starts the factory once the API server is ready.
	Factory informers.SharedInformerFactory
	Log     *slog.Logger
}

// Run serves until ctx ends; then it returns nil. It listens before the API server is up,
// so that an APIService that an earlier boot left is available from the first request on:
// kubectl complains about every one that is not. While there are no metrics yet, lists of
// them are empty.
//
// An error means wrong options or certificate files. A port that is taken is waited for: one
// Pod on the host's network must not keep the node from starting.
func Run(ctx context.Context, o Options) error {
	cfg := rest.CopyConfig(o.Config)
	cfg.QPS, cfg.Burst = 200, 400 // whoever asks for metrics is looked up with this client
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("metrics server: %w", err)
	}
	pods, err := metadata.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("metrics server: %w", err)
	}
	listener, err := listen(ctx, netip.AddrPortFrom(o.Address, Port), o.Log)
	if err != nil {
		return nil // ctx ended
	}
	s, err := o.server(listener, client, pods)
	if err != nil {
		return fmt.Errorf("metrics server: %w", errors.Join(err, listener.Close()))
	}
	s.up = func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}
	return s.run(ctx)
}

// retryMax bounds the wait between tries to listen.
const retryMax = 30 * time.Second

// listen tries until it listens or ctx ends, which is the only error.
func listen(ctx context.Context, address netip.AddrPort, log *slog.Logger) (net.Listener, error) {
	var lc net.ListenConfig
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, retryMax) {
		l, err := lc.Listen(ctx, "tcp", address.String())
		if err == nil {
			return l, nil
		}
		if ctx.Err() == nil {
			log.Warn("metrics server cannot listen; free the port if a Pod with hostNetwork has taken it", "address", address, "retry", wait.String(), "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// server is the metrics server, put together.
type server struct {
	api       *genericapiserver.GenericAPIServer
	collector *collector
	factory   informers.SharedInformerFactory
	nodes     cache.InformerSynced
	pods      cache.SharedIndexInformer
	up        func(context.Context) error // nil once the API server is ready
}

func (o Options) server(l net.Listener, client kubernetes.Interface, metadata metadata.Interface) (*server, error) {
	serving, err := o.apiServer(l, client)
	if err != nil {
		return nil, err
	}
	nodes := o.Factory.Core().V1().Nodes()
	scrape, err := o.scrape(nodes.Lister())
	if err != nil {
		return nil, err
	}
	c := newCollector(scrape, storage.NewStorage(busyInterval))
	pods, err := runningPods(metadata, c.touch)
	if err != nil {
		return nil, err
	}
	if err := api.Install(c, pods.Lister(), nodes.Lister(), serving, nil); err != nil {
		return nil, err
	}
	return &server{api: serving, collector: c, factory: o.Factory, nodes: nodes.Informer().HasSynced, pods: pods.Informer()}, nil
}

func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var collecting sync.WaitGroup
	defer collecting.Wait()
	defer cancel()
	collecting.Go(func() { s.collect(ctx) })
	return s.api.PrepareRun().RunWithContext(ctx)
}

// collect keeps the metrics until ctx ends. Its informers start when the API server is
// ready: earlier they would only fail, and then wait up to half a minute between tries.
func (s *server) collect(ctx context.Context) {
	var informers sync.WaitGroup
	defer informers.Wait()
	defer s.collector.end()
	if err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		return s.up(ctx) == nil, nil
	}); err != nil {
		return // ctx ended
	}
	s.factory.StartWithContext(ctx)
	informers.Go(func() { s.pods.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), s.nodes, s.pods.HasSynced) {
		s.collector.run(ctx)
	}
}
