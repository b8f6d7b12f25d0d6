// Package quiet keeps client-go's work queues from waking up twice a second each.
//
// A named work queue with metrics has a goroutine that counts unfinished work every
// 500 ms, and a node has some 150 of them. They are born with metrics because
// k8s.io/component-base/metrics/prometheus/workqueue sets a provider of metrics when it is
// initialised; only the first provider ever set counts. This package sets the one that
// was there, which provides none, before that: packages are initialised in the order of
// their import paths as soon as what they import is (Go specification, "Program
// initialization"), and this one imports less and comes first.
//
// What is lost are the workqueue_* metrics. Should upstream rename its variable, the test
// fails, and the queues are as upstream's again.
package quiet

import (
	_ "unsafe" // for go:linkname

	"k8s.io/client-go/util/workqueue"
)

//go:linkname provider k8s.io/client-go/util/workqueue.globalMetricsProvider
var provider workqueue.MetricsProvider

func init() {
	if provider != nil {
		workqueue.SetProvider(provider)
	}
}
