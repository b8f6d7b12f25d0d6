package datastore

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/await"
)

func TestRunServesOnASmallPagedDatabaseAndAgainAfterwards(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: filepath.Join(dir, "db"), Socket: filepath.Join(dir, "run", "kine.sock")}
	for range 2 {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		done := make(chan error, 1)
		go func() { done <- Run(ctx, o) }()
		err := await.Until(ctx, o.Socket, func(context.Context) error {
			select {
			case err := <-done:
				t.Fatalf("Run() = %v", err)
			default:
			}
			c, err := net.Dial("unix", o.Socket)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(o.Dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var size int
	var mode string
	if err := errors.Join(db.QueryRow("PRAGMA page_size").Scan(&size), db.QueryRow("PRAGMA journal_mode").Scan(&mode)); err != nil {
		t.Fatal(err)
	}
	if size != pageSize || mode != "wal" {
		t.Errorf("page size %d, journal %s, want %d, wal", size, mode, pageSize)
	}
	for _, d := range []string{o.Dir, filepath.Dir(o.Socket)} {
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode of %s = %v, want 0700", d, info.Mode())
		}
	}
}
