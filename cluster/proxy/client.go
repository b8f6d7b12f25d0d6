package proxy

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// steadyClient shows every Node with one and the same InternalIP.
//
// kube-proxy calls os.Exit when its node's addresses change, and would take the API
// server with it. In nftables mode it needs the address for one thing only: to see
// whether a LoadBalancer's source range holds the node itself.
type steadyClient struct {
	kubernetes.Interface
	address string
}

func (c steadyClient) CoreV1() corev1.CoreV1Interface {
	return steadyCore{c.Interface.CoreV1(), c.address}
}

type steadyCore struct {
	corev1.CoreV1Interface
	address string
}

func (c steadyCore) Nodes() corev1.NodeInterface {
	return steadyNodes{c.CoreV1Interface.Nodes(), c.address}
}

type steadyNodes struct {
	corev1.NodeInterface
	address string
}

func (n steadyNodes) List(ctx context.Context, opts metav1.ListOptions) (*v1.NodeList, error) {
	list, err := n.NodeInterface.List(ctx, opts)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		steady(&list.Items[i], n.address)
	}
	return list, nil
}

func (n steadyNodes) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	w, err := n.NodeInterface.Watch(ctx, opts)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		if node, ok := e.Object.(*v1.Node); ok {
			steady(node, n.address)
		}
		return e, true
	}), nil
}

// steady changes a node that was just decoded and that nobody else holds yet.
func steady(node *v1.Node, address string) {
	node.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: address}}
}
