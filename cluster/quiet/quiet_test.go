// The test is a package of its own: what a package's own test imports, the package
// imports too, and the order of initialisation would be another one.
package quiet_test

import (
	"runtime"
	"strings"
	"testing"

	_ "github.com/keelson-os/keelson/cluster/quiet"
	"k8s.io/client-go/util/workqueue"
	_ "k8s.io/component-base/metrics/prometheus/workqueue" // what quiet comes before
)

func TestNamedQueueCountsNothingInTheBackground(t *testing.T) {
	q := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Name: "test"})
	defer q.ShutDown()
	buf := make([]byte, 1<<20)
	if stacks := string(buf[:runtime.Stack(buf, true)]); strings.Contains(stacks, "updateUnfinishedWorkLoop") {
		t.Error("a named work queue has a goroutine that counts unfinished work")
	}
}
