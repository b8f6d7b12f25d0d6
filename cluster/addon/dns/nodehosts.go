package dns

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// nodesAnnotation lists, on the ConfigMap coredns, the names of nodes whose lines are in
// NodeHosts, so that a node's line goes with it even if it went while nobody was looking,
// and a line that somebody else wrote stays.
const nodesAnnotation = "dns.keelson.dev/nodes"

// hostsKeeper keeps NodeHosts: a line "ADDRESS NAME" for each node. Servers run it; if there
// are several, they write the same.
type hostsKeeper struct {
	client kubernetes.Interface
	log    *slog.Logger
	change chan struct{}

	mu  sync.Mutex
	now *corev1.ConfigMap // coredns; nil: not there
}

func newHostsKeeper(client kubernetes.Interface, log *slog.Logger) *hostsKeeper {
	return &hostsKeeper{client: client, log: log, change: make(chan struct{}, 1)}
}

// set tells the keeper what the ConfigMap is now.
func (k *hostsKeeper) set(c *corev1.ConfigMap) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = c
	notify(k.change)
}

// run writes when nodes or the ConfigMap changed, until ctx ends.
func (k *hostsKeeper) run(ctx context.Context) {
	f := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTransform(onlyAddresses))
	nodes := f.Core().V1().Nodes()
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify(k.change) }, DeleteFunc: func(any) { notify(k.change) },
		UpdateFunc: func(any, any) { notify(k.change) },
	}); err != nil {
		k.log.Error("nodes not watched", "err", err)
		return
	}
	f.StartWithContext(ctx)
	defer f.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return
	}
	var retry <-chan time.Time
	notify(k.change)
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.change:
		case <-retry:
		}
		retry = nil
		k.mu.Lock()
		now := k.now
		k.mu.Unlock()
		if now == nil {
			continue
		}
		var list []*corev1.Node
		for _, o := range nodes.Informer().GetStore().List() {
			list = append(list, o.(*corev1.Node))
		}
		if err := k.apply(ctx, now, list); err != nil && ctx.Err() == nil {
			k.log.Warn("NodeHosts not written, trying again", "err", err)
			retry = time.After(5 * time.Second)
		}
	}
}

// onlyAddresses drops of a Node what is not used: it is the largest object of a small
// cluster, with all of its images.
func onlyAddresses(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status:     corev1.NodeStatus{Addresses: n.Status.Addresses},
	}, nil
}

func (k *hostsKeeper) apply(ctx context.Context, now *corev1.ConfigMap, nodes []*corev1.Node) error {
	text, names := nodeHosts(now.Data[hostsName], strings.Fields(now.Annotations[nodesAnnotation]), nodes)
	annotation := strings.Join(names, " ")
	if text == now.Data[hostsName] && annotation == now.Annotations[nodesAnnotation] {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": now.ResourceVersion, // of what text was made from
			"annotations":     map[string]string{nodesAnnotation: annotation},
		},
		"data": map[string]string{hostsName: text},
	})
	if err != nil {
		return err
	}
	if _, err := k.client.CoreV1().ConfigMaps(Namespace).Patch(ctx, now.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch ConfigMap %s/%s: %w", Namespace, now.Name, err)
	}
	return nil
}

// nodeHosts returns the new text of NodeHosts, and the names of the nodes that are in it. Of
// the old text it keeps the lines that are not of a node, those of earlier and of nodes now.
// As in k3s a node's line has its InternalIP, its name, and its Hostname if that is another.
func nodeHosts(old string, earlier []string, nodes []*corev1.Node) (text string, names []string) {
	type line struct {
		address netip.Addr
		text    string
	}
	var lines []line
	ours := make(map[string]bool)
	for _, n := range earlier {
		ours[n] = true
	}
	for _, n := range nodes {
		ours[n.Name] = true
		words := n.Name
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeHostName && a.Address != n.Name {
				words += " " + a.Address
			}
		}
		has := false
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				lines = append(lines, line{ip, ip.String() + " " + words})
				has = true
			}
		}
		if has {
			names = append(names, n.Name)
		}
	}
	slices.SortFunc(lines, func(a, b line) int {
		if c := a.address.Compare(b.address); c != 0 {
			return c
		}
		return strings.Compare(a.text, b.text)
	})
	slices.Sort(names)

	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	for l := range strings.Lines(old) {
		l = strings.TrimRight(l, " \t\r\n")
		data, _, _ := strings.Cut(l, "#")
		if f := strings.Fields(data); l == "" || len(f) > 1 && ours[f[1]] {
			continue
		}
		b.WriteString(l + "\n")
	}
	return b.String(), names
}
