// Package endpoints keeps the EndpointSlice of the kubernetes Service: the address at
// which pods reach the API server.
//
// Upstream's reconcilers write a lease every 10 s, and take the API server's address from
// a flag. This one writes when the node's address changes, and only then.
package endpoints

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"

	"github.com/keelson-os/keelson/cluster/address"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const name = "kubernetes" // of the Service and of its slice

// Keep writes the slice now and whenever an address comes through the channel, until ctx
// ends. What fails is tried again. ready is called after the first write. A valid
// advertise stands for the node's address, whatever that is.
func Keep(ctx context.Context, client kubernetes.Interface, advertise netip.Addr, port int, addresses <-chan address.Addresses, log *slog.Logger, ready func()) error {
	var want netip.Addr
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-addresses:
			want = a.Primary
			if advertise.IsValid() {
				want = advertise
			}
		case <-retry:
		}
		retry = nil
		if err := apply(ctx, client, want, port); err != nil {
			log.Warn("endpoint of the kubernetes Service not written, trying again", "err", err)
			retry = time.After(time.Second)
			continue
		}
		ready()
	}
}

// slice is what the API should hold.
func slice(addr netip.Addr, port int) *discoveryv1.EndpointSlice {
	ready, portName, protocol, number := true, "https", corev1.ProtocolTCP, int32(port)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: metav1.NamespaceDefault,
			// No managed-by label of the EndpointSlice controller: it leaves this one alone.
			Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{addr.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &number}},
	}
}

func apply(ctx context.Context, client kubernetes.Interface, addr netip.Addr, port int) error {
	want := slice(addr, port)
	api := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	have, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if reflect.DeepEqual(have.Endpoints, want.Endpoints) && reflect.DeepEqual(have.Ports, want.Ports) && have.Labels[discoveryv1.LabelServiceName] == name {
		return nil
	}
	have.Labels, have.Endpoints, have.Ports = want.Labels, want.Endpoints, want.Ports
	if _, err := api.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("update EndpointSlice default/%s: %w", name, err)
	}
	return nil
}
