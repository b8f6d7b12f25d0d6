package metrics

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/metrics"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

const (
	// busyInterval is the time between two scrapes while somebody asks: k3s's metric-resolution.
	busyInterval = 15 * time.Second
	// idleInterval is upstream's default, and the time between two scrapes while nobody asks.
	// A scrape makes the kubelet wake every container's shim, to read its cgroup. It is never
	// stopped altogether: CPU use is the difference of two scrapes, and the one before the
	// first request should not lie hours back.
	idleInterval = time.Minute
	// linger is how long a request or a change of a Pod counts. An autoscaler asks every 15 s.
	linger = 5 * time.Minute
	// staleAfter is the age from which a scrape is too old to answer a request from.
	staleAfter = busyInterval + 5*time.Second
)

// collector scrapes the kubelets and answers from what it has: CPU use since the scrape
// before the last, memory of the last.
//
//	idle: every idleInterval ──request, Pod starts, changes or ends──▶ busy: every busyInterval
//	                         ◀────────nothing of it for linger────────
//
// The first request after idle time waits for a scrape of its own, so that no answer is
// older than it would be in k3s. Changes of Pods count like requests because of containers
// that were not there at the last scrape but one: those of a minute ago would be missing
// from the answer.
//
// run is to be called once; the other methods may be called concurrently, at any time.
type collector struct {
	scrape func(context.Context) *storage.MetricsBatch
	store  storage.Storage
	wake   chan struct{}
	ended  chan struct{}

	mu      sync.Mutex
	asked   time.Time     // the last request or change
	last    time.Time     // when the last scrape that has ended began; zero: none yet
	scraped chan struct{} // closed at the end of the next scrape, then replaced
}

var _ api.MetricsGetter = (*collector)(nil)

func newCollector(scrape func(context.Context) *storage.MetricsBatch, store storage.Storage) *collector {
	return &collector{
		scrape: scrape, store: store,
		wake: make(chan struct{}, 1), ended: make(chan struct{}), scraped: make(chan struct{}),
		asked: time.Now(), // the node has just started: metrics as soon as possible
	}
}

// run scrapes until ctx ends.
func (c *collector) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		if c.due(time.Now()) <= 0 {
			c.once(ctx)
		}
		timer.Reset(c.due(time.Now()))
	}
}

// end lets go of those who still wait for a scrape. Call it once, when run has returned or
// will not be called.
func (c *collector) end() { close(c.ended) }

// due is the time until the next scrape.
func (c *collector) due(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		return 0
	}
	interval := idleInterval
	if now.Sub(c.asked) < linger {
		interval = busyInterval
	}
	return c.last.Add(interval).Sub(now)
}

func (c *collector) once(ctx context.Context) {
	began := time.Now()
	batch := c.scrape(ctx)
	if ctx.Err() == nil { // else it is not whole
		c.store.Store(batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = began
	close(c.scraped)
	c.scraped = make(chan struct{})
}

// touch notes that there is interest in metrics.
func (c *collector) touch() {
	c.mu.Lock()
	c.asked = time.Now()
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // run will look anyway
	}
}

// refresh is touch, and waits for a scrape if the last one is too old. Before the first one
// it does not wait: one scrape makes no metrics yet.
func (c *collector) refresh() {
	c.mu.Lock()
	last, scraped := c.last, c.scraped
	c.mu.Unlock()
	c.touch()
	if last.IsZero() || time.Since(last) < staleAfter {
		return
	}
	limit := time.NewTimer(scrapeTimeout)
	defer limit.Stop()
	select {
	case <-scraped:
	case <-c.ended:
	case <-limit.C: // the answer is what there is
	}
}

// GetPodMetrics implements api.PodMetricsGetter.
func (c *collector) GetPodMetrics(pods ...*metav1.PartialObjectMetadata) ([]metrics.PodMetrics, error) {
	c.refresh()
	return c.store.GetPodMetrics(pods...)
}

// GetNodeMetrics implements api.NodeMetricsGetter.
func (c *collector) GetNodeMetrics(nodes ...*corev1.Node) ([]metrics.NodeMetrics, error) {
	c.refresh()
	return c.store.GetNodeMetrics(nodes...)
}
