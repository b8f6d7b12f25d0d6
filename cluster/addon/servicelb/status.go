package servicelb

import (
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// manager is whom the API server notes as the writer of an address (metadata.managedFields).
// It is the mark by which Remove knows ours.
const manager = "servicelb"

// shown are the addresses in a Service's status, or host names of somebody else's.
func shown(svc *corev1.Service) []string {
	list := []string{} // printed as []
	for _, i := range svc.Status.LoadBalancer.Ingress {
		if i.IP != "" {
			list = append(list, i.IP)
		} else {
			list = append(list, i.Hostname)
		}
	}
	return list
}

// same reports whether the status is what patch would write. The order does not matter.
func same(svc *corev1.Service, want []string) bool {
	var have []string
	for _, i := range svc.Status.LoadBalancer.Ingress {
		if i.Hostname != "" || len(i.Ports) > 0 || i.IPMode != nil && *i.IPMode != corev1.LoadBalancerIPModeVIP {
			return false
		}
		have = append(have, i.IP)
	}
	return slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want)))
}

// loses reports whether want lacks an address that the Service shows.
func loses(svc *corev1.Service, want []string) bool {
	return slices.ContainsFunc(shown(svc), func(a string) bool { return !slices.Contains(want, a) })
}

// patch makes want the addresses of this very version of the Service. With none the
// Service is pending.
func patch(ctx context.Context, client kubernetes.Interface, svc *corev1.Service, want []string) error {
	vip := corev1.LoadBalancerIPModeVIP // kube-proxy takes what comes for the address
	var ingress []corev1.LoadBalancerIngress
	for _, ip := range want {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &vip})
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": svc.UID, "resourceVersion": svc.ResourceVersion},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}, // null removes the field
	})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: manager}, "status")
	return err
}
