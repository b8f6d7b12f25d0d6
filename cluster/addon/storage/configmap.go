package storage

import (
	"log/slog"
	"maps"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const (
	configNamespace = metav1.NamespaceSystem
	configMapName   = "local-path-config"
	configName      = configNamespace + "/" + configMapName // in messages
	configKey       = "config.json"
)

// configuration holds the settings in force and follows the ConfigMap.
type configuration struct {
	base    string // of the node's configuration
	events  record.EventRecorder
	log     *slog.Logger
	changed func() // called after new settings are in force; set before watch

	mu      sync.RWMutex
	current settings
	broken  error             // if set, there are no settings: the first ConfigMap was bad
	seen    map[string]string // data of the last ConfigMap looked at
}

func newConfiguration(base string, events record.EventRecorder, log *slog.Logger) *configuration {
	return &configuration{
		base: base, events: events, log: log, changed: func() {},
		// Until the packaged ConfigMap is there, or when somebody removed it.
		current: settings{general: scope{nodes: map[string][]string{otherNodes: {base}}}},
	}
}

// settings returns what is in force, or a refusal if the ConfigMap never was valid.
func (c *configuration) settings() (settings, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.current, c.broken
}

// bases returns the folders in which volumes may be removed.
func (c *configuration) bases() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return append(c.current.bases(), c.base)
}

// configFactory gives an informer of the one ConfigMap.
func configFactory(client kubernetes.Interface) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(configNamespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, configMapName).String()
		}),
		informers.WithTransform(func(obj any) (any, error) {
			if o, ok := obj.(metav1.Object); ok {
				o.SetManagedFields(nil)
			}
			return obj, nil
		}))
}

// watch follows the ConfigMap. The function it returns says whether its first state is in force.
// A ConfigMap that goes away changes nothing, as upstream.
func (c *configuration) watch(f informers.SharedInformerFactory) (cache.InformerSynced, error) {
	handle := func(obj any) {
		if cm, ok := obj.(*corev1.ConfigMap); ok && cm.Name == configMapName {
			c.take(cm)
		}
	}
	r, err := f.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, obj any) { handle(obj) },
	})
	if err != nil {
		return nil, err
	}
	return r.HasSynced, nil
}

// take puts a ConfigMap's settings in force. Bad ones are refused with an event on the
// ConfigMap, and the former stay.
func (c *configuration) take(cm *corev1.ConfigMap) {
	c.mu.Lock()
	if c.seen != nil && maps.Equal(c.seen, cm.Data) {
		c.mu.Unlock()
		return
	}
	first := c.seen == nil
	c.seen = cm.Data
	s, ignored, err := parse(cm.Data[configKey]) // a missing key is no JSON either
	if err != nil {
		err = refuse("%s in ConfigMap %s: %v", configKey, configName, err)
		stays := "; the former settings stay in force"
		if first || c.broken != nil {
			c.broken, stays = err, "; no volumes are made until it is corrected"
		}
		c.mu.Unlock()
		c.log.Warn("local storage: configuration refused", "err", err)
		c.events.Event(cm, corev1.EventTypeWarning, "InvalidConfig", err.Error()+stays)
		return
	}
	c.current, c.broken = s, nil
	c.mu.Unlock()
	c.log.Info("local storage: configuration taken", "folders", s.bases())
	for _, key := range []string{"setup", "teardown", "helperPod.yaml"} {
		if cm.Data[key] != "" {
			ignored = append(ignored, key)
		}
	}
	if len(ignored) > 0 {
		c.events.Event(cm, corev1.EventTypeNormal, "Ignored", "without effect on this node, which runs no scripts for volumes: "+strings.Join(ignored, "; "))
	}
	c.changed()
}
