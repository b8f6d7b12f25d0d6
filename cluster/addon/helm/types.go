package helm

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const group = "helm.cattle.io"

// What k3s writes to its objects.
const (
	finalizer = "wrangler.cattle.io/on-helm-chart-remove"
	// annotationManagedBy has the name of the controller that acts on a HelmChart.
	annotationManagedBy = "helmcharts.cattle.io/managed-by"
	managedBy           = "helm-controller"
	// annotationUnmanaged, with any value, keeps every controller away.
	annotationUnmanaged = "helmcharts.helm.cattle.io/unmanaged"
	// annotationChartURL tells where a chartContent is from; for people.
	annotationChartURL = "helm.cattle.io/chart-url"
)

func chartsResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: "helmcharts"}
}

func configsResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: "helmchartconfigs"}
}

// helmChart is what is read of a HelmChart. Fields that are about k3s's job pods are
// accepted by the CRD and not read.
type helmChart struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              chartSpec   `json:"spec"`
	Status            chartStatus `json:"status"`
}

type chartSpec struct {
	TargetNamespace       string                        `json:"targetNamespace"`
	CreateNamespace       bool                          `json:"createNamespace"`
	Chart                 string                        `json:"chart"`
	Version               string                        `json:"version"`
	Repo                  string                        `json:"repo"`
	RepoCA                string                        `json:"repoCA"`
	RepoCAConfigMap       *reference                    `json:"repoCAConfigMap"`
	Set                   map[string]intstr.IntOrString `json:"set"`
	Values                json.RawMessage               `json:"values"`
	ValuesContent         string                        `json:"valuesContent"`
	ValuesSecrets         []valuesSecret                `json:"valuesSecrets"`
	HelmVersion           string                        `json:"helmVersion"`
	TakeOwnership         bool                          `json:"takeOwnership"`
	ServerSide            string                        `json:"serverSide"`
	ForceConflicts        bool                          `json:"forceConflicts"`
	ChartContent          string                        `json:"chartContent"`
	Timeout               string                        `json:"timeout"`
	FailurePolicy         string                        `json:"failurePolicy"`
	AuthSecret            *reference                    `json:"authSecret"`
	AuthPassCredentials   bool                          `json:"authPassCredentials"`
	InsecureSkipTLSVerify bool                          `json:"insecureSkipTLSVerify"`
	PlainHTTP             bool                          `json:"plainHTTP"`
	DockerRegistrySecret  *reference                    `json:"dockerRegistrySecret"`
	Driver                string                        `json:"driver"`
}

// helmChartConfig is what a user changes of a HelmChart that is not theirs. It has the
// HelmChart's name and namespace.
type helmChartConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              configSpec `json:"spec"`
}

type configSpec struct {
	Values         json.RawMessage `json:"values"`
	ValuesContent  string          `json:"valuesContent"`
	ValuesSecrets  []valuesSecret  `json:"valuesSecrets"`
	FailurePolicy  string          `json:"failurePolicy"`
	ServerSide     string          `json:"serverSide"`
	ForceConflicts *bool           `json:"forceConflicts"`
}

// reference names an object in the HelmChart's namespace.
type reference struct {
	Name string `json:"name"`
}

// valuesSecret names keys of a Secret that are files of values.
type valuesSecret struct {
	Name          string   `json:"name"`
	Keys          []string `json:"keys"`
	IgnoreUpdates bool     `json:"ignoreUpdates"`
}

type chartStatus struct {
	JobName    string      `json:"jobName"`
	Conditions []condition `json:"conditions"`
}

// condition is k3s's: without times.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// target is the namespace of the release and of what it installs.
func (c *helmChart) target() string {
	if c.Spec.TargetNamespace != "" {
		return c.Spec.TargetNamespace
	}
	return c.Namespace
}

// timeout is 0 where the user gave none.
func (c *helmChart) timeout() (time.Duration, error) {
	if c.Spec.Timeout == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.Spec.Timeout)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("spec.timeout: %q is no duration, expected one such as 300s or 10m", c.Spec.Timeout)
	}
	return d, nil
}

// decode turns what the API sent into a struct. A field of the wrong kind, which the CRD
// keeps out, is an error.
func decode(u *unstructured.Unstructured, into any) error {
	raw, err := u.MarshalJSON()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}
