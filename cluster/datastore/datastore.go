// Package datastore runs kine, which gives the API server the etcd it wants, on SQLite.
package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/endpoint"
	_ "modernc.org/sqlite" // the driver that kine uses without cgo
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
	db := filepath.Join(o.Dir, "state.db")
	if err := create(ctx, db); err != nil {
		return fmt.Errorf("datastore: create %s: %w", db, err)
	}
	var wg sync.WaitGroup
	_, err := endpoint.Listen(ctx, endpoint.Config{
		WaitGroup: &wg,
		Listener:  "unix://" + o.Socket,
		Endpoint:  "sqlite://" + db + "?" + parameters,
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

// pageSize is the database's page size, bytes. A write of one object changes pages of the
// table and of six indexes, and all of them go to the log: renewing a lease of 450 bytes
// changes 14 pages, which is 57 kB at SQLite's 4096.
const pageSize = 1024

// create makes an empty database with our page size, which can be chosen at no other time.
func create(ctx context.Context, path string) (err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Under another name: a power cut must not leave a database without its page size.
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+tmp+"?"+url.Values{"_pragma": {fmt.Sprintf("page_size(%d)", pageSize)}}.Encode())
	if err != nil {
		return err
	}
	// VACUUM writes the header.
	_, err = db.ExecContext(ctx, "VACUUM")
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
