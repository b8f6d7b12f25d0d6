package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/cluster/address"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

const packaged = "../../../overlays/manifests/metrics-server"

// document decodes the n-th document of a packaged manifest; unknown fields are faults.
func document(t *testing.T, file string, n int, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(packaged, file))
	if err != nil {
		t.Fatal(err)
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for range n {
		if _, err := reader.Read(); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := sigsyaml.UnmarshalStrict(doc, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if _, err := reader.Read(); n > 0 && !errors.Is(err, io.EOF) {
		t.Errorf("%s has more than %d documents", file, n+1)
	}
}

func TestPackagedManifestsLeadToTheServer(t *testing.T) {
	var service corev1.Service
	var slice discoveryv1.EndpointSlice
	document(t, "metrics-server-service.yaml", 0, &service)
	document(t, "metrics-server-service.yaml", 1, &slice)
	if len(service.Spec.Selector) != 0 {
		t.Errorf("selector = %v, want none: a controller would replace the endpoints", service.Spec.Selector)
	}
	if got := slice.Labels[discoveryv1.LabelServiceName]; got != service.Name || slice.Namespace != service.Namespace {
		t.Errorf("the EndpointSlice is for %s/%s, want %s/%s", slice.Namespace, got, service.Namespace, service.Name)
	}
	if got := slice.Endpoints[0].Addresses; len(got) != 1 || got[0] != address.Stable.String() {
		t.Errorf("endpoint = %v, want %v", got, address.Stable)
	}
	if got := *slice.Ports[0].Port; got != Port {
		t.Errorf("port of the endpoint = %d, want %d", got, Port)
	}
	// API server and kube-proxy match them by name.
	if got := *slice.Ports[0].Name; got != service.Spec.Ports[0].Name {
		t.Errorf("port name of the endpoint = %q, want %q", got, service.Spec.Ports[0].Name)
	}

	text, err := os.ReadFile(filepath.Join(packaged, "metrics-apiservice.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var api apiregistration.APIService
	if err := sigsyaml.UnmarshalStrict(bytes.ReplaceAll(text, []byte("%{SERVER_CA_BASE64}%"), []byte("Y2E=")), &api); err != nil {
		t.Fatal(err)
	}
	if string(api.Spec.CABundle) != "ca" || api.Spec.InsecureSkipTLSVerify {
		t.Errorf("caBundle = %q, insecureSkipTLSVerify = %v, want the server CA and a check of it", api.Spec.CABundle, api.Spec.InsecureSkipTLSVerify)
	}
	to := api.Spec.Service
	if to.Namespace != service.Namespace || to.Name != service.Name || *to.Port != service.Spec.Ports[0].Port {
		t.Errorf("the APIService leads to %s/%s:%d, want the Service", to.Namespace, to.Name, *to.Port)
	}
	if name := to.Name + "." + to.Namespace + ".svc"; name != serverName {
		t.Errorf("the API server asks for %q, want the certificate's %q", name, serverName)
	}
}
