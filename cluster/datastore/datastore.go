// Package datastore runs kine, which gives the API server the etcd it wants, on SQLite.
package datastore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
)

// Options say where the datastore lives.
type Options struct {
	Dir    string // the database's folder, on the state partition
	Socket string // where to listen, in a folder that only root may enter
}

// parameters are kine's default ones, except:
//   - synchronous FULL, not NORMAL: in WAL mode, NORMAL does not sync at commit, and a power
//     cut takes back writes that were acknowledged. FULL syncs the log before each answer.
//   - no VACUUM at start: it writes the whole database anew, at every restart of the
//     process. Free pages are used again without it.
const parameters = "_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate&_stmt_cache_size=20&cache=shared&_kine_disable_startup_vacuum=1"

// Run serves the datastore until ctx ends, then closes it.
func Run(ctx context.Context, o Options) error {
	for _, dir := range []string{o.Dir, filepath.Dir(o.Socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("datastore: %w", err)
		}
	}
	var wg sync.WaitGroup
	_, err := endpoint.Listen(ctx, endpoint.Config{
		WaitGroup: &wg,
		Listener:  "unix://" + o.Socket,
		Endpoint:  "sqlite://" + filepath.Join(o.Dir, "state.db") + "?" + parameters,
		// Writes of this process wake the poller by themselves, and nobody else writes.
		// 30 s instead of 1 s saves a query each second.
		PollInterval:  30 * time.Second,
		PollBatchSize: 500,
		// Old revisions are deleted this often; longer saves writes and costs disk.
		CompactInterval:  15 * time.Minute,
		CompactTimeout:   5 * time.Second,
		CompactMinRetain: 1000,
		CompactBatchSize: 1000,
		// Progress notifications to watchers; k3s's value.
		NotifyInterval: 5 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}
