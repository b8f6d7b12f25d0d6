package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

const (
	// retryMin and retryMax bound the wait between tries of what may work the next time.
	retryMin, retryMax = 5 * time.Second, 1000 * time.Second
	// refusedAgain is when a refused object is looked at again although nothing changed,
	// so that its event, which the API server keeps for an hour, is still there to be read.
	refusedAgain = 50 * time.Minute
)

// controller turns claims into volumes and removes volumes, one of each at a time: a
// volume of a million files must not keep a claim waiting.
type controller struct {
	node   string
	client kubernetes.Interface
	config *configuration
	events record.EventRecorder
	log    *slog.Logger
	mounts func(path string) ([]string, error)

	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister

	claimQueue, volumeQueue queue
}

type queue = workqueue.TypedRateLimitingInterface[string]

func newController(o Options, config *configuration, events record.EventRecorder) *controller {
	newQueue := func() queue {
		return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryMin, retryMax))
	}
	return &controller{
		node: o.NodeName, client: o.Client, config: config, events: events, log: o.Log, mounts: mountsIn,
		claims:     o.Factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes:    o.Factory.Core().V1().PersistentVolumes().Lister(),
		classes:    o.Factory.Storage().V1().StorageClasses().Lister(),
		claimQueue: newQueue(), volumeQueue: newQueue(),
	}
}

// watch puts what this node has to do into the queues. It returns what says that the informers are filled.
func (c *controller) watch(f informers.SharedInformerFactory) ([]cache.InformerSynced, error) {
	claim := func(obj any) {
		if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok && c.wantsVolume(claim) {
			c.claimQueue.Add(claim.Namespace + "/" + claim.Name)
		}
	}
	volume := func(obj any) {
		if pv, ok := obj.(*corev1.PersistentVolume); ok && c.wantsRemoval(pv) {
			c.volumeQueue.Add(pv.Name)
		}
	}
	claims, err := f.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: claim, UpdateFunc: func(_, obj any) { claim(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("local storage: watch claims: %w", err)
	}
	volumes, err := f.Core().V1().PersistentVolumes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: volume, UpdateFunc: func(_, obj any) { volume(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("local storage: watch volumes: %w", err)
	}
	return []cache.InformerSynced{claims.HasSynced, volumes.HasSynced, f.Storage().V1().StorageClasses().Informer().HasSynced}, nil
}

// again looks at everything anew, without the waits that failures have left.
func (c *controller) again() {
	if claims, err := c.claims.List(labels.Everything()); err == nil {
		for _, claim := range claims {
			if c.wantsVolume(claim) {
				key := claim.Namespace + "/" + claim.Name
				c.claimQueue.Forget(key)
				c.claimQueue.Add(key)
			}
		}
	}
	if volumes, err := c.volumes.List(labels.Everything()); err == nil {
		for _, pv := range volumes {
			if c.wantsRemoval(pv) {
				c.volumeQueue.Forget(pv.Name)
				c.volumeQueue.Add(pv.Name)
			}
		}
	}
}

// run works until ctx ends and the work in hand is done.
func (c *controller) run(ctx context.Context) {
	var workers sync.WaitGroup
	workers.Go(func() { c.work(ctx, c.claimQueue, "claim", c.provision) })
	workers.Go(func() { c.work(ctx, c.volumeQueue, "volume", c.remove) })
	<-ctx.Done()
	c.claimQueue.ShutDown()
	c.volumeQueue.ShutDown()
	workers.Wait()
}

// work calls do, which tells the user what fails, for every key.
func (c *controller) work(ctx context.Context, q queue, what string, do func(context.Context, string) error) {
	for {
		key, stop := q.Get()
		if stop {
			return
		}
		err := do(ctx, key)
		q.Done(key)
		switch {
		case err == nil:
			q.Forget(key)
		case ctx.Err() != nil:
		case errors.As(err, new(refusal)):
			c.log.Warn("local storage: refused", what, key, "err", err)
			q.Forget(key)
			q.AddAfter(key, refusedAgain)
		default:
			c.log.Warn("local storage: failed, trying again", what, key, "err", err)
			q.AddRateLimited(key)
		}
	}
}

// fail tells the reason on the object and returns it.
func (c *controller) fail(obj runtime.Object, reason string, err error) error {
	c.events.Event(obj, corev1.EventTypeWarning, reason, err.Error())
	return err
}
