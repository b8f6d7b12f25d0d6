package servicelb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

const (
	// settle gathers changes that come together, of a rollout say, into one computation.
	settle = 200 * time.Millisecond
	// retryMin and retryMax bound the wait after a failure.
	retryMin, retryMax = time.Second, 5 * time.Minute

	// Reasons of events, k3s's.
	reasonUpdated, reasonUnavailable = "UpdatedLoadBalancer", "UnAvailableLoadBalancer"
)

// controller writes the statuses. One goroutine, that of work, uses held and told.
type controller struct {
	client   kubernetes.Interface
	factory  informers.SharedInformerFactory
	reserved map[Port]string
	events   record.EventRecorder
	log      *slog.Logger

	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	pods     corelisters.PodLister

	// queue holds one item: "compute".
	queue workqueue.TypedRateLimitingInterface[struct{}]

	held map[slot]types.UID   // nil before the first computation
	told map[types.UID]string // conflicts that an event has told
}

func newController(o Options, events record.EventRecorder) *controller {
	return &controller{
		client: o.Client, factory: o.Factory, reserved: o.Reserved, events: events, log: o.Log,
		services: o.Factory.Core().V1().Services().Lister(),
		nodes:    o.Factory.Core().V1().Nodes().Lister(),
		slices:   o.Factory.Discovery().V1().EndpointSlices().Lister(),
		queue:    workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](retryMin, retryMax)),
		told:     map[types.UID]string{},
	}
}

// ours reports whether the Service is for us to give addresses to. One that waits for its
// finalizers still is: kube-proxy serves it until it is gone.
func ours(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil
}

// watch makes every change that matters, and hardly any other, start a computation.
func (c *controller) watch(pods informers.SharedInformerFactory) ([]cache.InformerSynced, error) {
	c.pods = pods.Core().V1().Pods().Lister()
	var synced []cache.InformerSynced
	var errs []error
	// changed gets nil for what was not there before, or is not now.
	on := func(what string, informer cache.SharedIndexInformer, changed func(old, obj any) bool) {
		handle := func(old, obj any) {
			if changed(old, obj) {
				c.queue.AddAfter(struct{}{}, settle)
			}
		}
		r, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { handle(nil, obj) },
			UpdateFunc: handle,
			DeleteFunc: func(obj any) {
				if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = last.Obj
				}
				handle(obj, nil)
			},
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("service load balancer: watch %s: %w", what, err))
			return
		}
		synced = append(synced, r.HasSynced)
	}
	on("services", c.factory.Core().V1().Services().Informer(), serviceChanged)
	on("nodes", c.factory.Core().V1().Nodes().Informer(), nodeChanged)
	on("endpointslices", c.factory.Discovery().V1().EndpointSlices().Informer(), c.endpointsChanged)
	on("pods", pods.Core().V1().Pods().Informer(), podChanged)
	return synced, errors.Join(errs...)
}

func serviceChanged(old, obj any) bool {
	a, _ := old.(*corev1.Service)
	b, _ := obj.(*corev1.Service)
	return a != nil && ours(a) || b != nil && ours(b)
}

// nodeChanged leaves out the heartbeats.
func nodeChanged(old, obj any) bool {
	a, _ := old.(*corev1.Node)
	b, _ := obj.(*corev1.Node)
	if a == nil || b == nil {
		return true
	}
	return ready(a) != ready(b) || (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) ||
		!equality.Semantic.DeepEqual(a.Labels, b.Labels) || !equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) ||
		!equality.Semantic.DeepEqual(a.Status.Addresses, b.Status.Addresses)
}

// podChanged is quiet for pods without hostPorts, nearly all.
func podChanged(old, obj any) bool {
	var before, after []corev1.ContainerPort
	if p, ok := old.(*corev1.Pod); ok {
		before = hostPorts(p)
	}
	if p, ok := obj.(*corev1.Pod); ok {
		after = hostPorts(p)
	}
	return !equality.Semantic.DeepEqual(before, after)
}

// endpointsChanged is for Services with externalTrafficPolicy Local only.
func (c *controller) endpointsChanged(old, obj any) bool {
	for _, o := range []any{old, obj} {
		if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
			svc, err := c.services.Services(slice.Namespace).Get(slice.Labels[discoveryv1.LabelServiceName])
			if err == nil && ours(svc) && local(svc) {
				return true
			}
		}
	}
	return false
}

// work computes until ctx ends.
func (c *controller) work(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	c.queue.Add(struct{}{})
	for {
		item, shutdown := c.queue.Get()
		if shutdown {
			return
		}
		err := c.compute(ctx)
		c.queue.Done(item)
		switch {
		case err == nil:
			c.queue.Forget(item)
		case ctx.Err() != nil:
		default:
			c.log.Warn("service load balancer: failed, trying again", "err", err)
			c.queue.AddRateLimited(item)
		}
	}
}

// compute gives every Service the addresses that it should have now.
func (c *controller) compute(ctx context.Context) error {
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return err
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	pods, err := c.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	var services []*corev1.Service
	for _, svc := range all {
		if ours(svc) {
			services = append(services, svc)
		}
	}
	if c.held == nil {
		c.held = heldByStatus(services, nodes)
	}
	s := situation{services: services, nodes: nodes, reserved: c.reserved, pods: taken(pods), held: c.held}
	placements, held := s.assign()
	c.held = held

	var errs []error
	// Who loses addresses first: two Services must not show the same port.
	for _, losing := range []bool{true, false} {
		for _, svc := range services {
			p := placements[svc.UID]
			serving, err := c.serving(svc, p)
			if err != nil {
				return err
			}
			want := addresses(svc, serving)
			if loses(svc, want) == losing {
				if err := c.give(ctx, svc, want, p); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	maps.DeleteFunc(c.told, func(uid types.UID, _ string) bool { return !placements[uid].blocked() })
	return errors.Join(errs...)
}

// serving are the nodes whose addresses the Service shows.
func (c *controller) serving(svc *corev1.Service, p placement) ([]*corev1.Node, error) {
	var with map[string]bool
	if local(svc) {
		list, err := c.slices.EndpointSlices(svc.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: svc.Name}))
		if err != nil {
			return nil, err
		}
		with = nodesWithPods(list)
	}
	var nodes []*corev1.Node
	for _, node := range p.nodes {
		if ready(node) && (with == nil || with[node.Name]) {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

// local reports whether only nodes with pods of the Service take its traffic.
func local(svc *corev1.Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// nodesWithPods are the nodes of ready pods.
func nodesWithPods(list []*discoveryv1.EndpointSlice) map[string]bool {
	nodes := map[string]bool{}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			pod := e.TargetRef != nil && e.TargetRef.Kind == "Pod"
			if pod && e.NodeName != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
				nodes[*e.NodeName] = true
			}
		}
	}
	return nodes
}

// give writes the addresses if they are not there yet, and tells the user.
func (c *controller) give(ctx context.Context, svc *corev1.Service, want []string, p placement) error {
	had := shown(svc)
	if !same(svc, want) {
		if err := patch(ctx, c.client, svc, want); apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // its deletion or its newer version is on the way to us
		} else if err != nil {
			return fmt.Errorf("addresses of Service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
		c.log.Info("service load balancer: addresses changed", "service", svc.Namespace+"/"+svc.Name, "from", had, "to", want)
		switch {
		case len(want) > 0:
			c.events.Eventf(svc, corev1.EventTypeNormal, reasonUpdated, "LoadBalancer addresses: %v -> %v", had, want)
		case !p.blocked():
			c.events.Eventf(svc, corev1.EventTypeWarning, reasonUnavailable,
				"No node is available for the LoadBalancer: it needs a node that is Ready, that labels and taints allow, and with externalTrafficPolicy Local one with a ready pod of the Service")
		}
	}
	if why := p.why(); p.blocked() && c.told[svc.UID] != why {
		c.told[svc.UID] = why
		c.events.Eventf(svc, corev1.EventTypeWarning, reasonUnavailable, "No node is available for the LoadBalancer: %s. Change this Service's port or free the other; this Service then gets its address by itself", why)
	}
	return nil
}
