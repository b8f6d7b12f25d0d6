// Package await waits for conditions, and says which one it was when it gives up.
package await

import (
	"context"
	"fmt"
	"time"
)

// interval is the pause between probes. Every probe is a local call; 50 ms keeps what a
// wait adds to the start far below what the awaited part takes.
const interval = 50 * time.Millisecond

// Until calls probe until it returns nil. When ctx ends first, the error names the
// condition and wraps the last probe's error.
func Until(ctx context.Context, condition string, probe func(context.Context) error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w)", condition, context.Cause(ctx), err)
		case <-t.C:
		}
	}
}
