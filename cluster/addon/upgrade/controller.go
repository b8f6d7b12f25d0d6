package upgrade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/keelson-os/keelson/cluster/await"
)

const (
	// An Upgrade that could not be looked at is looked at again after retryMin, doubling up to retryMax.
	retryMin = time.Second
	retryMax = time.Minute
	// lookAgain bounds the wait for a window, since a clock may be set meanwhile.
	lookAgain = 10 * time.Minute
)

// errGone says that there is no such Upgrade any more.
var errGone = errors.New("the Upgrade was deleted")

// controller decides which nodes are begun. One goroutine, that of work, does; each node
// under way has a task with a goroutine of its own.
type controller struct {
	upgrades dynamic.Interface
	client   kubernetes.Interface
	dial     func(node *corev1.Node) (node, error)
	events   record.EventRecorder
	log      *slog.Logger
	queue    workqueue.TypedRateLimitingInterface[string] // names of Upgrades

	goes  sync.WaitGroup
	mu    sync.Mutex
	tasks map[taskKey]*task
}

type taskKey struct {
	upgrade types.UID
	node    string
}

func newController(upgrades dynamic.Interface, client kubernetes.Interface, dial func(*corev1.Node) (node, error), events record.EventRecorder, log *slog.Logger) *controller {
	return &controller{
		upgrades: upgrades, client: client, dial: dial, events: events, log: log,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryMin, retryMax)),
		tasks: map[taskKey]*task{},
	}
}

// work looks at what is in the queue until ctx ends.
func (c *controller) work(ctx context.Context) {
	defer c.goes.Wait()
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	for {
		name, end := c.queue.Get()
		if end {
			return
		}
		after, err := c.reconcile(ctx, name)
		c.queue.Done(name)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.log.Warn("upgrade: not looked at, trying again", "upgrade", name, "err", err)
			c.queue.AddRateLimited(name)
		default:
			c.queue.Forget(name)
			if after > 0 {
				c.queue.AddAfter(name, after)
			}
		}
	}
}

// reconcile begins what is to be begun for one Upgrade. after, if not 0, is when to look
// again without a change.
func (c *controller) reconcile(ctx context.Context, name string) (after time.Duration, err error) {
	object, err := c.upgrades.Resource(resource()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, c.gone(ctx, name)
	}
	if err != nil {
		return 0, err
	}
	u, err := decode(object)
	if err != nil {
		return 0, err
	}
	changed := u.Status.ObservedGeneration != u.Generation
	if u.DeletionTimestamp != nil || u.Status.Phase.ended() && !changed {
		return 0, nil
	}
	if changed && u.Status.Bundle != nil && *u.Status.Bundle != u.Spec.Bundle {
		c.breakOff(u.UID)
	}
	c.forsake(u)
	resumed := false
	for i := range u.Status.Nodes {
		if n := &u.Status.Nodes[i]; n.Phase.underWay() {
			c.carry(ctx, u, n)
			resumed = true
		}
	}
	if changed && resumed {
		return 0, nil // the tasks' ends bring us back
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return 0, err
	}
	servers := map[string]bool{}
	for i := range nodes.Items {
		servers[nodes.Items[i].Name] = controlPlane(&nodes.Items[i])
	}
	why, after, invalid := c.holds(ctx, u)
	var begun []string
	var fresh, ended bool
	before := u.Status.Phase
	u, err = c.update(ctx, u, func(u *upgrade) {
		begun, fresh = nil, u.Status.ObservedGeneration != u.Generation
		if fresh {
			selector, err := u.selector()
			if err != nil {
				invalid = errors.Join(invalid, err)
			} else {
				u.begin(targets(nodes.Items, selector), time.Now())
			}
		}
		if invalid != nil {
			u.Status.ObservedGeneration, u.Status.Phase, u.Status.Message = u.Generation, phaseFailed, cut(invalid.Error(), maxMessage)
			u.Status.condition(typeComplete, false, u.Generation, time.Now())
			u.Status.condition(typeFailed, true, u.Generation, time.Now())
			return
		}
		if why.phase == "" {
			begun = u.Status.next(servers, u.Spec.Concurrency)
			for _, name := range begun {
				u.Status.node(name).enter(nodePreparing, "waiting for the node to be Ready", time.Now())
			}
		}
		ended = u.summarize(why, time.Now())
	})
	switch {
	case errors.Is(err, errGone):
		return 0, c.gone(ctx, name)
	case err != nil:
		return 0, err
	case invalid != nil:
		c.tell(u, corev1.EventTypeWarning, "Invalid", u.Status.Message)
		return 0, nil
	}
	if fresh {
		c.tell(u, corev1.EventTypeNormal, "Accepted", fmt.Sprintf("Upgrade of %s from %s", count(len(u.Status.Nodes)), u.Spec.Bundle.URL))
	}
	if p := u.Status.Phase; p != before && (p == phaseWaiting || p == phasePaused) {
		c.tell(u, corev1.EventTypeNormal, string(p), u.Status.Message)
	}
	for _, name := range begun {
		c.carry(ctx, u, u.Status.node(name))
	}
	if ended {
		c.tellEnd(u)
		return 0, c.wakeOthers(ctx, name)
	}
	if why.phase == "" {
		after = 0
	}
	return after, nil
}

// holds says whether something keeps the Upgrade from beginning a node.
func (c *controller) holds(ctx context.Context, u *upgrade) (why hold, after time.Duration, invalid error) {
	if u.Spec.Window != nil {
		open, next, err := u.Spec.Window.at(time.Now())
		if err != nil {
			return hold{}, 0, err
		}
		if !open {
			why = hold{phaseWaiting, "the window opens " + next.Format("Mon 2 Jan 15:04 MST")}
			after = min(max(time.Until(next), time.Second), lookAgain)
		}
	}
	if u.Spec.Paused {
		return hold{phasePaused, "spec.paused is set"}, 0, nil
	}
	if why.phase != "" {
		return why, after, nil
	}
	other, err := c.before(ctx, u)
	if err != nil {
		return hold{phaseWaiting, "other Upgrades cannot be listed: " + err.Error()}, retryMin, nil
	}
	if other != "" {
		return hold{phaseWaiting, "waits for Upgrade " + other}, lookAgain, nil
	}
	return hold{}, 0, nil
}

// before is an Upgrade that has to be finished first; empty if there is none: one with nodes
// under way, or an older one that may begin some.
func (c *controller) before(ctx context.Context, u *upgrade) (string, error) {
	if other := c.busy(u.UID); other != "" {
		return other, nil
	}
	list, err := c.upgrades.Resource(resource()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		o, err := decode(&list.Items[i])
		if err != nil || o.UID == u.UID {
			continue
		}
		if o.Status.Current != "" {
			return o.Name, nil
		}
		older := o.CreationTimestamp.Before(&u.CreationTimestamp) || o.CreationTimestamp.Equal(&u.CreationTimestamp) && o.Name < u.Name
		waits := o.Status.Phase == phaseUpgrading || o.Status.ObservedGeneration != o.Generation && !o.Spec.Paused
		if older && waits {
			return o.Name, nil
		}
	}
	return "", nil
}

// wakeOthers has every other Upgrade looked at: it may have waited for this one.
func (c *controller) wakeOthers(ctx context.Context, name string) error {
	list, err := c.upgrades.Resource(resource()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if other := list.Items[i].GetName(); other != name {
			c.queue.Add(other)
		}
	}
	return nil
}

// gone lets go of the nodes of an Upgrade that was deleted.
func (c *controller) gone(ctx context.Context, name string) error {
	c.mu.Lock()
	busy := map[string]bool{}
	for key, t := range c.tasks {
		if t.u.Name == name {
			busy[key.node] = true
			t.stopDrain(errGone)
		}
	}
	c.mu.Unlock()
	return errors.Join(release(ctx, c.client, func(by, node string) bool { return by == name && !busy[node] }), c.wakeOthers(ctx, name))
}

// carry starts the task of a node that is under way, unless it runs.
func (c *controller) carry(ctx context.Context, u *upgrade, n *nodeStatus) {
	key := taskKey{u.UID, n.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tasks[key] != nil {
		return
	}
	t := &task{controller: c, u: u, n: *n}
	t.drainCtx, t.stopDrain = context.WithCancelCause(ctx)
	c.tasks[key] = t
	c.goes.Go(func() {
		t.run(ctx)
		t.stopDrain(nil)
		c.mu.Lock()
		delete(c.tasks, key)
		c.mu.Unlock()
		c.queue.Add(u.Name)
		if err := c.wakeOthers(ctx, u.Name); err != nil && ctx.Err() == nil {
			c.log.Warn("upgrade: other Upgrades not looked at", "err", err)
		}
	})
}

// breakOff ends the drains of an Upgrade, whose nodes are then begun anew.
func (c *controller) breakOff(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, t := range c.tasks {
		if key.upgrade == uid {
			t.stopDrain(errChanged)
		}
	}
}

// forsake ends the drains of an earlier Upgrade of the same name.
func (c *controller) forsake(u *upgrade) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, t := range c.tasks {
		if t.u.Name == u.Name && key.upgrade != u.UID {
			t.stopDrain(errGone)
		}
	}
}

// busy is an Upgrade other than uid with tasks, which may be deleted by now; empty: none.
func (c *controller) busy(uid types.UID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, t := range c.tasks {
		if key.upgrade != uid {
			return t.u.Name
		}
	}
	return ""
}

// update changes the status of an Upgrade, and tries until that is done, until ctx ends, or
// until the Upgrade is gone, which is errGone. change may be called several times, each time
// with what the API has now. It returns what is there afterwards.
func (c *controller) update(ctx context.Context, of *upgrade, change func(*upgrade)) (*upgrade, error) {
	for {
		u, err := c.tryUpdate(ctx, of, change)
		if err == nil || errors.Is(err, errGone) {
			return u, err
		}
		if !apierrors.IsConflict(err) {
			c.log.Warn("upgrade: status not written, trying again", "upgrade", of.Name, "err", err)
			if !await.Pause(ctx, 2*time.Second) {
				return nil, errors.Join(context.Cause(ctx), err)
			}
		} else if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (c *controller) tryUpdate(ctx context.Context, of *upgrade, change func(*upgrade)) (*upgrade, error) {
	object, err := c.upgrades.Resource(resource()).Get(ctx, of.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && object.GetUID() != of.UID {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	u, err := decode(object)
	if err != nil {
		return nil, err
	}
	before, err := decode(object)
	if err != nil {
		return nil, err
	}
	change(u)
	if reflect.DeepEqual(before.Status, u.Status) {
		return u, nil
	}
	if err := u.Status.encode(object); err != nil {
		return nil, err
	}
	_, err = c.upgrades.Resource(resource()).UpdateStatus(ctx, object, metav1.UpdateOptions{FieldManager: component})
	if apierrors.IsNotFound(err) {
		return nil, errGone
	}
	return u, err
}

// tell records an event of an Upgrade.
func (c *controller) tell(u *upgrade, kind, reason, text string) {
	c.log.Info("upgrade: "+text, "upgrade", u.Name)
	c.events.Event(u.reference(), kind, reason, cut(text, maxMessage))
}

func (c *controller) tellEnd(u *upgrade) {
	if u.Status.Phase == phaseDone {
		c.tell(u, corev1.EventTypeNormal, "Done", u.Status.Message)
		return
	}
	c.tell(u, corev1.EventTypeWarning, "Stopped", u.Status.Message)
}

func (u *upgrade) reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: group + "/" + version, Kind: kind, Name: u.Name, UID: u.UID, ResourceVersion: u.ResourceVersion}
}
