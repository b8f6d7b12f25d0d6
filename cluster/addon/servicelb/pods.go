package servicelb

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// podFactory gives an informer of the pods that are on a node and have not ended, each
// with nothing but its name, its node and its hostPorts.
func podFactory(client kubernetes.Interface) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.AndSelectors(
				fields.OneTermNotEqualSelector("spec.nodeName", ""),
				fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
				fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
			).String()
		}),
		informers.WithTransform(onlyHostPorts))
}

// onlyHostPorts makes a pod as small as podFactory says. It is safe to repeat.
func onlyHostPorts(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	small := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		Spec:       corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase},
	}
	var ports []corev1.ContainerPort
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for _, p := range c.Ports {
				// On the host's network the API server sets hostPort to containerPort.
				if p.HostPort != 0 {
					ports = append(ports, corev1.ContainerPort{HostPort: p.HostPort, Protocol: p.Protocol})
				}
			}
		}
	}
	if ports != nil {
		small.Spec.Containers = []corev1.Container{{Ports: ports}}
	}
	return small, nil
}

// hostPorts returns what onlyHostPorts left.
func hostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	if len(pod.Spec.Containers) == 0 || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	return pod.Spec.Containers[0].Ports
}

// taken lists the hostPorts of pods with the pods' names.
func taken(pods []*corev1.Pod) map[slot]string {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return compareNames(a, b) })
	slots := map[slot]string{}
	for _, pod := range pods {
		for _, p := range hostPorts(pod) {
			s := slot{pod.Spec.NodeName, Port{orTCP(p.Protocol), p.HostPort}}
			if slots[s] == "" {
				slots[s] = fmt.Sprintf("Pod %s/%s", pod.Namespace, pod.Name)
			}
		}
	}
	return slots
}

// orTCP is the protocol with the API's default.
func orTCP(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}
