package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-os/keelson/cluster/credentials"
	corev1 "k8s.io/api/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/scraper"
	"sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/scraper/client/resource"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

const (
	// scrapeTimeout is how long a kubelet may take to answer.
	scrapeTimeout = 10 * time.Second
	// kubeletPort is where a kubelet is whose Node does not say.
	kubeletPort = 10250
)

// scrape returns the function that asks the kubelets of all nodes once, as the API server:
// it has the right to, and its certificate. What one kubelet does not answer is missing from the batch.
func (o Options) scrape(nodes listers.NodeLister) (func(context.Context) *storage.MetricsBatch, error) {
	kubelets, err := resource.NewForConfig(&client.KubeletClientConfig{
		Client: rest.Config{TLSClientConfig: rest.TLSClientConfig{
			CAFile:   o.file(credentials.ServerCA + ".crt"),
			CertFile: o.file(credentials.ClientAPIServer + ".crt"),
			KeyFile:  o.file(credentials.ClientAPIServer + ".key"),
		}},
		AddressTypePriority: []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName},
		Scheme:              "https",
		DefaultPort:         kubeletPort,
		UseNodeStatusPort:   true,
	})
	if err != nil {
		return nil, fmt.Errorf("kubelet client: %w", err)
	}
	return scraper.NewScraper(nodes, kubelets, scrapeTimeout, nil).Scrape, nil
}
