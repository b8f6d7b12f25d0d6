package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// kubelets answers scrapes of a node "pi" that uses half a core, and notes when.
type kubelets struct {
	start time.Time
	times []time.Time
	hang  bool // the next scrape gets no answer until its context ends
}

func (k *kubelets) scrape(ctx context.Context) *storage.MetricsBatch {
	if k.hang {
		<-ctx.Done()
		return &storage.MetricsBatch{}
	}
	now := time.Now()
	if k.start.IsZero() {
		k.start = now.Add(-time.Hour)
	}
	k.times = append(k.times, now)
	return &storage.MetricsBatch{Nodes: map[string]storage.MetricsPoint{"pi": {
		StartTime: k.start, Timestamp: now, CumulativeCPUUsed: uint64(now.Sub(k.start) / 2), MemoryUsage: 1 << 20,
	}}}
}

// bubble runs f beside a collector, in a time of its own.
func bubble(t *testing.T, f func(t *testing.T, c *collector, k *kubelets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := &kubelets{}
		c := newCollector(k.scrape, storage.NewStorage(busyInterval))
		go func() {
			defer c.end()
			c.run(ctx)
		}()
		synctest.Wait()
		f(t, c, k)
		cancel()
		synctest.Wait()
	})
}

func TestScrapesOftenOnlyWhileSomebodyAsks(t *testing.T) {
	bubble(t, func(t *testing.T, c *collector, k *kubelets) {
		started := time.Now()
		time.Sleep(time.Hour + 20*time.Second)
		c.touch()
		asked := time.Now()
		time.Sleep(time.Hour)
		synctest.Wait()
		atOnce := false
		for i, at := range k.times[1:] {
			gap := at.Sub(k.times[i])
			want := idleInterval
			if at.Equal(asked) {
				atOnce = true
				continue
			}
			if at.Sub(started) <= linger || at.After(asked) && at.Sub(asked) <= linger {
				want = busyInterval
			}
			if gap != want {
				t.Errorf("scrape %v after the start and %v after the request: gap %v, want %v", at.Sub(started), at.Sub(asked), gap, want)
			}
		}
		if !atOnce {
			t.Error("no scrape at the request")
		}
		if n := len(k.times); n < 140 || n > 160 {
			t.Errorf("%d scrapes in two hours with ten busy minutes, want about 150", n)
		}
	})
}

func TestFirstRequestAfterIdleTimeGetsAFreshAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, c *collector, k *kubelets) {
		time.Sleep(time.Hour + 40*time.Second)
		got, err := c.GetNodeMetrics(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "pi"}})
		if err != nil || len(got) != 1 {
			t.Fatalf("GetNodeMetrics = %v, %v, want one", got, err)
		}
		if age := time.Since(got[0].Timestamp.Time); age != 0 {
			t.Errorf("age of the answer = %v, want 0", age)
		}
		if w := got[0].Window.Duration; w > idleInterval {
			t.Errorf("window = %v, want %v at most", w, idleInterval)
		}
		if cpu := got[0].Usage.Cpu().MilliValue(); cpu != 500 {
			t.Errorf("CPU = %dm, want 500m", cpu)
		}
	})
}

func TestRequestsWhileBusyWaitForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, c *collector, k *kubelets) {
		time.Sleep(40 * time.Second)
		began := time.Now()
		got, err := c.GetNodeMetrics(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "pi"}})
		if err != nil || len(got) != 1 || time.Since(began) != 0 {
			t.Errorf("GetNodeMetrics = %v, %v after %v, want one at once", got, err, time.Since(began))
		}
	})
}

func TestRequestDoesNotWaitForever(t *testing.T) {
	bubble(t, func(t *testing.T, c *collector, k *kubelets) {
		time.Sleep(time.Hour + 40*time.Second)
		k.hang = true
		began := time.Now()
		got, err := c.GetNodeMetrics(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "pi"}})
		if err != nil || len(got) != 1 || time.Since(began) != scrapeTimeout {
			t.Errorf("GetNodeMetrics with a kubelet that hangs = %v, %v after %v, want the old ones after %v", got, err, time.Since(began), scrapeTimeout)
		}
	})
}

func TestRequestBeforeTheFirstScrapeAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector((&kubelets{}).scrape, storage.NewStorage(busyInterval))
		began := time.Now()
		got, err := c.GetPodMetrics(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}})
		if err != nil || len(got) != 0 || time.Since(began) != 0 {
			t.Errorf("GetPodMetrics = %v, %v after %v, want none at once", got, err, time.Since(began))
		}
	})
}

func TestEndLetsWaitingRequestsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kubelets{}
		c := newCollector(k.scrape, storage.NewStorage(busyInterval))
		c.once(t.Context())
		time.Sleep(time.Hour)
		began := time.Now()
		done := make(chan time.Duration)
		go func() {
			_, _ = c.GetNodeMetrics()
			done <- time.Since(began)
		}()
		time.Sleep(time.Second)
		c.end()
		if took := <-done; took != time.Second {
			t.Errorf("the request ended after %v, want 1s", took)
		}
	})
}
