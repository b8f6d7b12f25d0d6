package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// Namespace is that of all objects of the cluster's DNS.
	Namespace = metav1.NamespaceSystem
	// ServiceName is the Service under which pods find the cluster's DNS.
	ServiceName = "kube-dns"
	// managedBy keeps the EndpointSlice controller away from the slices.
	managedBy = "keelson-dns"
)

// endpoint keeps this node's EndpointSlice of the Service: one per node, because each node
// answers its own pods, and so that no two nodes write the same object.
type endpoint struct {
	client kubernetes.Interface
	node   string
	port   int
	log    *slog.Logger
	change chan struct{}

	mu      sync.Mutex
	address netip.Addr // invalid: not known yet
	serving bool
}

func newEndpoint(client kubernetes.Interface, node string, port int, log *slog.Logger) *endpoint {
	return &endpoint{client: client, node: node, port: port, log: log, change: make(chan struct{}, 1)}
}

// touch makes run look again.
func (e *endpoint) touch() { notify(e.change) }

func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one already
	}
}

func (e *endpoint) setAddress(a netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = a
	e.touch()
}

func (e *endpoint) setServing(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = on
	e.touch()
}

// nodeInterval is the pause between looks for the Node, which the kubelet makes only after
// the first start of this component.
const nodeInterval = 5 * time.Second

// run writes the slice when something changed, until ctx ends. It does not take the
// endpoint away at the end: the process is about to start again, and pods of other nodes never
// use it.
func (e *endpoint) run(ctx context.Context) {
	var retry <-chan time.Time
	wait := time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.change:
		case <-retry:
		}
		retry = nil
		e.mu.Lock()
		address, serving := e.address, e.serving
		e.mu.Unlock()
		if !address.IsValid() {
			continue
		}
		owned, err := e.apply(ctx, address, serving)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			e.log.Warn("endpoint of cluster DNS not written, trying again", "err", err)
			retry = time.After(wait)
			wait = min(2*wait, 30*time.Second)
			continue
		case !owned:
			retry = time.After(nodeInterval)
		}
		wait = time.Second
	}
}

// apply writes the slice if it is not as it should be, and says whether it belongs to the
// Node, with which it is then removed.
func (e *endpoint) apply(ctx context.Context, address netip.Addr, serving bool) (owned bool, err error) {
	want := e.slice(address, serving)
	node, err := e.client.CoreV1().Nodes().Get(ctx, e.node, metav1.GetOptions{})
	switch {
	case err == nil:
		want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
		owned = true
	case !apierrors.IsNotFound(err):
		return false, err
	}
	api := e.client.DiscoveryV1().EndpointSlices(Namespace)
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if _, err = api.Create(ctx, want, metav1.CreateOptions{}); err != nil {
			return false, fmt.Errorf("create EndpointSlice %s/%s: %w", Namespace, want.Name, err)
		}
		return owned, nil
	}
	if err != nil {
		return false, err
	}
	if equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) &&
		equality.Semantic.DeepEqual(have.Labels, want.Labels) && equality.Semantic.DeepEqual(have.OwnerReferences, want.OwnerReferences) {
		return owned, nil
	}
	have.Labels, have.OwnerReferences, have.Endpoints, have.Ports = want.Labels, want.OwnerReferences, want.Endpoints, want.Ports
	if _, err := api.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
		return false, fmt.Errorf("update EndpointSlice %s/%s: %w", Namespace, want.Name, err)
	}
	return owned, nil
}

// slice is what the API should hold.
func (e *endpoint) slice(address netip.Addr, serving bool) *discoveryv1.EndpointSlice {
	port := func(name string, protocol corev1.Protocol) discoveryv1.EndpointPort {
		number := int32(e.port)
		return discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number}
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: sliceName(e.node), Namespace: Namespace,
			Labels: map[string]string{discoveryv1.LabelServiceName: ServiceName, discoveryv1.LabelManagedBy: managedBy},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{address.String()}, NodeName: &e.node,
			Conditions: discoveryv1.EndpointConditions{Ready: &serving},
		}},
		Ports: []discoveryv1.EndpointPort{port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)},
	}
}

func sliceName(node string) string { return ServiceName + "-" + node }

// Remove deletes the endpoints of all nodes. It is for a cluster whose DNS was disabled; the
// Service and the ConfigMap are the manifest's.
func Remove(ctx context.Context, client kubernetes.Interface) error {
	err := client.DiscoveryV1().EndpointSlices(Namespace).DeleteCollection(ctx, metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: discoveryv1.LabelManagedBy + "=" + managedBy})
	if err != nil {
		return fmt.Errorf("remove the endpoints of cluster DNS: %w", err)
	}
	return nil
}
