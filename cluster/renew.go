package cluster

import (
	"context"
	"time"
)

// renewEvery is how often certificates are looked at. They are renewed months before
// their end, but a clock that was wrong at the start may jump at any time.
const renewEvery = time.Hour

// renew keeps the certificates valid and made out to the node's addresses, until ctx
// ends. A failure is logged and tried again: what is on the disk still works for a while.
func (n *node) renew(ctx context.Context) error {
	addresses := n.watch.Subscribe()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-addresses:
		case <-tick.C:
		}
		if err := n.store.Ensure(n.watch.Current().All, time.Now()); err != nil {
			n.log.Error("certificates not renewed, trying again later", "err", err, "after", renewEvery)
		}
	}
}
