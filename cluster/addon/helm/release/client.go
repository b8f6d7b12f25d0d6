package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// configuration is what Helm's actions work with, for one action.
func configuration(ctx context.Context, cfg *rest.Config, namespace, driverName string, log *slog.Logger) (*action.Configuration, error) {
	bound := bind(ctx, cfg)
	clients, err := kubernetes.NewForConfig(bound)
	if err != nil {
		return nil, err
	}
	disco := memory.NewMemCacheClient(clients.Discovery())
	getter := &getter{
		config: bound, namespace: namespace, discovery: disco,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(disco),
	}
	handler := log.Handler()
	k := kube.New(getter)
	k.Namespace = namespace
	k.SetLogger(handler)
	var store *storage.Storage
	if driverName == "configmap" {
		d := driver.NewConfigMaps(clients.CoreV1().ConfigMaps(namespace))
		d.SetLogger(handler)
		store = storage.Init(d)
	} else {
		d := driver.NewSecrets(clients.CoreV1().Secrets(namespace))
		d.SetLogger(handler)
		store = storage.Init(d)
	}
	store.SetLogger(handler)
	c := action.NewConfiguration(action.ConfigurationSetLogger(handler))
	c.RESTClientGetter, c.KubeClient, c.Releases = getter, &client{Client: k}, store
	c.HookOutputFunc = func(_, _, _ string) io.Writer { return io.Discard }
	return c, nil
}

// getter gives Helm its clients. They share one cache of the API's kinds, which goes when
// the action is over.
type getter struct {
	config    *rest.Config
	namespace string
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.ResettableRESTMapper
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery, nil
}

func (g *getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper, nil }

func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	overrides := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: g.namespace}}
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), overrides)
}

// client is Helm's client of the API with three differences. It does not check manifests
// against the API's OpenAPI document, whose megabytes it would hold: with server-side
// apply, the default, the server checks them as strictly. It remembers why a deletion
// failed, which Helm only logs. And when forgive is set, kinds that the API does not have
// any more are left out: there can be no objects of them.
type client struct {
	*kube.Client
	forgive bool
	failure error
}

var (
	_ kube.Interface            = (*client)(nil)
	_ kube.InterfaceWaitOptions = (*client)(nil)
)

// Build reads manifests.
func (c *client) Build(r io.Reader, _ bool) (kube.ResourceList, error) {
	list, err := c.Client.Build(r, false)
	if err == nil {
		return list, nil
	}
	if c.forgive && unknownKinds(err) {
		return list, nil
	}
	c.failure = err
	return list, err
}

// Delete deletes objects.
func (c *client) Delete(list kube.ResourceList, policy metav1.DeletionPropagation) (*kube.Result, []error) {
	result, errs := c.Client.Delete(list, policy)
	if len(errs) > 0 {
		c.failure = errors.Join(errs...)
	}
	return result, errs
}

// unknownKinds says whether an error is only about kinds that are not there.
func unknownKinds(err error) bool {
	var many utilerrors.Aggregate
	if errors.As(err, &many) {
		for _, one := range many.Errors() {
			if !unknownKinds(one) {
				return false
			}
		}
		return len(many.Errors()) > 0
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if meta.IsNoMatchError(err) {
			return true
		}
	}
	return false
}

// FieldManager is the name under which helm owns fields. Helm's library would take the
// program's name; objects of k3s's helm jobs have this one.
const FieldManager = "helm"

// SetFieldManager sets a global variable of Helm's library. Call it once, before New.
func SetFieldManager() error {
	if m := kube.ManagedFieldsManager; m != "" && m != FieldManager {
		return fmt.Errorf("BUG: helm's field manager is %q already", m)
	}
	kube.ManagedFieldsManager = FieldManager
	return nil
}
