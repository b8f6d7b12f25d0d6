package servicelb

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/keelson-os/keelson/cluster/addon/events"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// component is the source of the events, the one that k3s's have.
const component = "service-controller"

// Port is a port of a node, on all of its addresses.
type Port struct {
	Protocol corev1.Protocol
	Number   int32
}

func (p Port) String() string { return fmt.Sprintf("%s port %d", p.Protocol, p.Number) }

// Options are the settings of Run. All but Reserved are required.
type Options struct {
	Client kubernetes.Interface // may read pods, write the status of Services, and events
	// Factory gives informers of Services, Nodes and EndpointSlices, in all namespaces.
	// Run starts it.
	Factory informers.SharedInformerFactory
	// Reserved are ports that every node has for itself, with who listens there: "the kubelet".
	Reserved map[Port]string
	Log      *slog.Logger
}

// Run keeps the addresses of Services until ctx ends, then it returns nil. What fails is
// logged and tried again.
func Run(ctx context.Context, o Options) error {
	recorder, stop := events.Recorder(ctx, o.Client.CoreV1().Events(""), component, "")
	defer stop()
	return newController(o, recorder).run(ctx)
}

func (c *controller) run(ctx context.Context) error {
	// The shared factory may hold whole pods, or none: this one holds their hostPorts only.
	private := podFactory(c.client)
	synced, err := c.watch(private)
	if err != nil {
		return err
	}
	// Shutdown waits for the informers' goroutines, which end with ctx.
	defer private.Shutdown()
	private.Start(ctx.Done())
	c.factory.Start(ctx.Done())
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		c.work(ctx)
	}
	return nil
}
