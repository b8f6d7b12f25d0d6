package servicelb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// Remove clears the addresses that Run has given, for a cluster that has disabled the load
// balancer. Addresses that another controller has written since are not touched. Errors are
// those of the API; to call it again is safe.
func Remove(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String(),
	})
	if err != nil {
		return fmt.Errorf("service load balancer: list Services: %w", err)
	}
	var errs []error
	for i := range list.Items {
		svc := &list.Items[i]
		if !wroteAddresses(svc) {
			continue
		}
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			err := patch(ctx, client, svc, nil)
			if !apierrors.IsConflict(err) {
				return err
			}
			now, getErr := client.CoreV1().Services(svc.Namespace).Get(ctx, svc.Name, metav1.GetOptions{})
			if getErr != nil {
				return getErr
			}
			if !wroteAddresses(now) {
				return nil
			}
			svc = now
			return err
		})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("service load balancer: clear addresses of Service %s/%s: %w", svc.Namespace, svc.Name, err))
		}
	}
	return errors.Join(errs...)
}

// wroteAddresses reports whether the addresses in the Service's status are ours.
func wroteAddresses(svc *corev1.Service) bool {
	if len(svc.Status.LoadBalancer.Ingress) == 0 {
		return false
	}
	for _, m := range svc.ManagedFields {
		if m.Manager != manager || m.FieldsV1 == nil {
			continue
		}
		var f struct {
			Status struct {
				LoadBalancer struct {
					Ingress json.RawMessage `json:"f:ingress"`
				} `json:"f:loadBalancer"`
			} `json:"f:status"`
		}
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &f); err == nil && f.Status.LoadBalancer.Ingress != nil {
			return true
		}
	}
	return false
}
