package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/keelson-os/keelson/cluster/addon/events"
	"github.com/keelson-os/keelson/cluster/address"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

// Port is where every node listens, UDP and TCP.
const Port = 10053

// The ConfigMaps, with k3s's names.
const (
	configName = "coredns"
	customMap  = "coredns-custom"
)

// mapsNeeded is how many ConfigMaps there are.
const mapsNeeded = 2

// Options are what the cluster's DNS needs to know.
type Options struct {
	NodeName      string
	Dir           string         // for files that a reboot may lose; it is made
	ResolvConf    string         // the node's name servers; the file may come and go
	ClusterDNS    netip.Addr     // the Service's address
	ClusterDomain string         // such as cluster.local
	Networks      []netip.Prefix // of pods and of Services: who may ask, beside the node itself

	// Kubeconfig is of a user that may list and watch Services, EndpointSlices and Namespaces.
	Kubeconfig string
	// Client may read the ConfigMaps coredns and coredns-custom, Nodes, and write the former,
	// EndpointSlices and Events in kube-system.
	Client    kubernetes.Interface
	Server    bool                     // this node keeps NodeHosts
	Addresses <-chan address.Addresses // the node's; the current ones come first
	Log       *slog.Logger
}

// DNS is the server of one node. Run must be called once.
type DNS struct {
	o        Options
	port     int
	look     time.Duration // between looks at resolv.conf
	engine   *engine
	sources  *sources
	files    files
	endpoint *endpoint
	events   record.EventRecorder
	serving  chan struct{} // closed once it serves

	change chan struct{}
	mu     sync.Mutex
	custom *corev1.ConfigMap // coredns-custom; nil: not there
	hosts  string
	inputs int // how many of the ConfigMaps were looked for

	// Of Run's goroutine:
	resolvers []string
	served    settings
	tried     settings
	refusal   string // why tried.custom is not served; empty: it is
}

// New returns a DNS. Nothing is started.
func New(o Options) *DNS { return newDNS(o, Port) }

func newDNS(o Options, port int) *DNS {
	return &DNS{
		o: o, port: port, look: resolvInterval, sources: newSources(o.Networks...), files: files{dir: o.Dir},
		endpoint: newEndpoint(o.Client, o.NodeName, port, o.Log),
		serving:  make(chan struct{}), change: make(chan struct{}, 1),
	}
}

// Ready blocks until names are answered.
func (d *DNS) Ready(ctx context.Context) error {
	select {
	case <-d.serving:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startWait bounds how long the first start waits for the API's objects. After that names
// outside the cluster are answered at least.
const startWait = 5 * time.Second

// Run serves until ctx ends. A port that is taken, an API server that is away and every
// mistake in a ConfigMap are waited out; errors are of the options only.
func (d *DNS) Run(ctx context.Context) error {
	register(d.o.Log)
	if err := os.MkdirAll(d.o.Dir, 0o700); err != nil {
		return fmt.Errorf("folder of cluster DNS: %w", err)
	}
	var names *cluster
	if d.o.Kubeconfig != "" {
		var err error
		if names, err = newCluster(d.o.Kubeconfig, d.o.ClusterDomain, d.o.ClusterDNS); err != nil {
			return err
		}
	}
	d.engine = newEngine(d.port, d.sources, names, filepath.Join(d.o.Dir, customName))

	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	recorder, end := events.Recorder(ctx, d.o.Client.CoreV1().Events(""), "coredns", d.o.NodeName)
	defer end()
	d.events = recorder

	stop, err := d.watch(ctx, &group)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		stop()
	}()
	if names != nil {
		if err := names.start(); err != nil { // blocks until the caches are filled, 5 s at most
			return fmt.Errorf("names of the cluster: %w", err)
		}
		defer func() { d.warn("stop the names of the cluster", names.stop()) }()
	}
	defer func() { d.warn("stop CoreDNS", d.engine.stop()) }()
	group.Go(func() { d.endpoint.run(ctx) })
	d.serve(ctx)
	return nil
}

func (d *DNS) warn(what string, err error) {
	if err != nil {
		d.o.Log.Warn(what, "err", err)
	}
}

// serve follows everything that the Corefile is made of, until ctx ends.
func (d *DNS) serve(ctx context.Context) {
	resolv := resolvFile{path: d.o.ResolvConf}
	look := time.NewTicker(d.look)
	defer look.Stop()
	start := time.After(startWait)
	retry := (<-chan time.Time)(nil)
	wait := time.Second
	waiting := true // for the ConfigMaps
	lookAtResolv := func() {
		text, changed, err := resolv.changed()
		d.warn("name servers not read", err)
		if changed {
			d.resolvers = resolvers(text, d.o.ClusterDNS)
		}
	}
	lookAtResolv()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-d.o.Addresses:
			d.sources.set(a.All)
			d.endpoint.setAddress(a.Primary)
			continue
		case <-look.C:
			lookAtResolv()
		case <-d.change:
		case <-start:
			waiting = false
		case <-retry:
		}
		if waiting && !d.complete() {
			continue
		}
		waiting, retry = false, nil
		if err := d.reconcile(); err != nil {
			d.o.Log.Warn("cluster DNS does not serve, trying again", "port", d.port, "err", err)
			retry = time.After(wait)
			wait = min(2*wait, 30*time.Second)
		}
	}
}

// complete says whether both ConfigMaps were looked for.
func (d *DNS) complete() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inputs >= mapsNeeded
}

// reconcile serves what the inputs ask for, as far as CoreDNS takes it. The error says why
// nothing at all is served.
func (d *DNS) reconcile() error {
	d.mu.Lock()
	want := settings{hosts: d.hosts, resolvers: d.resolvers}
	ref := d.custom
	if ref != nil && len(ref.Data) > 0 {
		want.custom = ref.Data
	}
	d.mu.Unlock()

	first := d.engine.running == nil
	if !first && want.equal(d.tried) {
		return nil
	}
	if first { // without the user's part, so that an error is not blamed on it
		base := settings{hosts: want.hosts, resolvers: want.resolvers}
		if err := d.load(base); err != nil {
			return err
		}
		d.served = base
		d.endpoint.setServing(true)
		close(d.serving)
	}
	again := d.refusal != "" && maps.Equal(d.tried.custom, want.custom)
	d.tried = want
	if want.equal(d.served) {
		d.accept(ref)
		return nil
	}
	err := d.load(want)
	if err == nil {
		d.served = want
		d.accept(ref)
		return nil
	}
	d.refuse(ref, explain(err, want.custom, d.o.Dir), again)
	// What else changed is not the user's fault.
	if rest := (settings{custom: d.served.custom, hosts: want.hosts, resolvers: want.resolvers}); !rest.equal(d.served) {
		if err := d.load(rest); err != nil {
			d.o.Log.Warn("cluster DNS: what was served before is served on", "err", err)
		} else {
			d.served = rest
		}
	}
	return nil
}

// load makes CoreDNS serve s. After an error the user's files are as they were.
func (d *DNS) load(s settings) error {
	if err := vet(s.custom); err != nil {
		return err
	}
	if err := d.files.writeHosts(s.hosts); err != nil {
		return err
	}
	before := d.files.custom
	if err := d.files.setCustom(s.custom); err != nil {
		return err
	}
	if err := d.engine.load(d.engine.corefile(s, d.o.Dir)); err != nil {
		return errors.Join(err, d.files.setCustom(before))
	}
	return nil
}

// maxReason keeps an Event's message below the API's 1024 bytes.
const maxReason = 900

// refuse tells the user why coredns-custom is not served.
func (d *DNS) refuse(c *corev1.ConfigMap, why string, again bool) {
	if c == nil || again && why == d.refusal {
		d.refusal = why
		return
	}
	d.refusal = why
	if len(why) > maxReason {
		why = why[:maxReason] + "..."
	}
	d.o.Log.Warn("coredns-custom refused, what was served before is served on", "err", why)
	d.events.Eventf(c, corev1.EventTypeWarning, "Refused", "%s; what was served before is served on", why)
}

// accept tells the user that coredns-custom is served again.
func (d *DNS) accept(c *corev1.ConfigMap) {
	if d.refusal == "" {
		return
	}
	d.refusal = ""
	d.o.Log.Info("coredns-custom is served again")
	if c != nil {
		d.events.Event(c, corev1.EventTypeNormal, "Accepted", "the configuration is served")
	}
}

// watch follows the two ConfigMaps and this node's EndpointSlice. stop waits for the end of
// what it started, once ctx has ended.
func (d *DNS) watch(ctx context.Context, group *sync.WaitGroup) (stop func(), err error) {
	keeper := newHostsKeeper(d.o.Client, d.o.Log)
	custom := d.one(customMap)
	config := d.one(configName)
	slice := d.one(sliceName(d.o.NodeName))
	customs, configs := custom.Core().V1().ConfigMaps().Informer(), config.Core().V1().ConfigMaps().Informer()
	slices := slice.Discovery().V1().EndpointSlices().Informer()
	var handlers []cache.ResourceEventHandlerRegistration
	for _, w := range []struct {
		informer cache.SharedInformer
		name     string
		seen     func(o any) // nil: it is not there
	}{
		{customs, customMap, func(o any) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.custom, _ = o.(*corev1.ConfigMap)
			notify(d.change)
		}},
		{configs, configName, func(o any) {
			c, _ := o.(*corev1.ConfigMap)
			keeper.set(c)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.hosts = ""
			if c != nil {
				d.hosts = c.Data[hostsName]
			}
			notify(d.change)
		}},
		// Somebody, or the garbage collector after the Node came anew, may have removed it.
		{slices, sliceName(d.o.NodeName), func(any) { d.endpoint.touch() }},
	} {
		named := func(o any) bool {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			m, err := meta.Accessor(o)
			return err == nil && m.GetName() == w.name
		}
		handler, err := w.informer.AddEventHandler(cache.FilteringResourceEventHandler{FilterFunc: named, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: w.seen, UpdateFunc: func(_, o any) { w.seen(o) }, DeleteFunc: func(any) { w.seen(nil) },
		}})
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", w.name, err)
		}
		handlers = append(handlers, handler)
	}
	for _, f := range []informers.SharedInformerFactory{custom, config, slice} {
		f.StartWithContext(ctx)
	}
	for _, h := range handlers[:mapsNeeded] {
		group.Go(func() {
			if cache.WaitForCacheSync(ctx.Done(), h.HasSynced) {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.inputs++
				notify(d.change)
			}
		})
	}
	if d.o.Server {
		group.Go(func() { keeper.run(ctx) })
	}
	return func() {
		for _, f := range []informers.SharedInformerFactory{custom, config, slice} {
			f.Shutdown()
		}
	}, nil
}

// one makes informers for the object of that name only.
func (d *DNS) one(name string) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(d.o.Client, 0, informers.WithNamespace(Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + name }),
		informers.WithTransform(func(o any) (any, error) {
			if m, err := meta.Accessor(o); err == nil {
				m.SetManagedFields(nil)
			}
			return o, nil
		}))
}
