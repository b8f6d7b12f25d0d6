package scenario

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keelson-os/keelson/tests/harness"
)

// mortal is a web server that has so many bytes left to say, over all answers, and then dies in the middle of one.
type mortal struct {
	files http.Handler
	left  atomic.Int64
	sent  atomic.Int64
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.files.ServeHTTP(&mortalWriter{w, m}, r)
}

type mortalWriter struct {
	http.ResponseWriter
	m *mortal
}

func (w *mortalWriter) Write(p []byte) (int, error) {
	if w.m.left.Add(-int64(len(p))) < 0 {
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(p)
	w.m.sent.Add(int64(n))
	return n, err
}

// dyingServer upgrades from a URL whose server dies in mid-transfer and does not come back: an error, and the boot state is as before. When
// the server is there again the upgrade goes on where it was. The node must reach the host.
func dyingServer(t *testing.T, ctx context.Context, n *harness.Node, args ...string) {
	// Bytes: what the bundle has that no slot has, up to 4 MB aside that squashfs packs otherwise for it, and what the server says before it dies.
	const junkSize, life = 16 << 20, 12 << 20
	junk := make([]byte, junkSize)
	if _, err := rand.Read(junk); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.Lab.Dir, "junk")
	if err := os.WriteFile(file, junk, 0o600); err != nil {
		t.Fatal(err)
	}
	bundle := newBundle(t, n.Lab, "0.2.2", append(args, "--file", file+":/opt/junk")...)
	m := &mortal{files: http.FileServer(http.Dir(filepath.Dir(bundle)))}
	s := httptest.NewServer(m)
	defer s.Close()
	// 10.0.2.2 is the host's loopback address to QEMU's guests.
	url := strings.Replace(s.URL, "127.0.0.1", "10.0.2.2", 1) + "/" + filepath.Base(bundle)

	before := mustStatus(t, ctx, n)
	limit, cancel := within(ctx, bootLimit, "an upgrade from a server that dies")
	defer cancel()
	m.left.Store(life)
	out, err := n.Keelson(limit, "upgrade", url, "--no-reboot")
	if err == nil || !strings.Contains(err.Error(), url) || !strings.Contains(err.Error(), "it goes on from here") {
		t.Fatalf("an upgrade from a server that dies = %v, want an error that names it\n%s", err, out)
	}
	t.Log(err)
	if s := mustStatus(t, limit, n); s.Boot != before.Boot || s.Version != before.Version {
		t.Errorf("status %+v after it, want the boot state and version of %+v", s, before)
	}
	m.left.Store(1 << 40)
	first := m.sent.Load()
	out, err = n.Keelson(limit, "upgrade", url, "--stage", "-o", "json")
	if err != nil {
		t.Fatalf("the server is back: %v\n%s", err, out)
	}
	second := m.sent.Load() - first
	t.Logf("%.1f MB from the server that died, %.1f MB when it was back", float64(first)/1e6, float64(second)/1e6)
	if first < life/2 || second > junkSize-life/2 {
		t.Errorf("%d bytes at first and then %d, want that the second upgrade fetches what the first has not, of %d", first, second, junkSize)
	}
	if !json.Valid([]byte(out)) {
		t.Errorf("-o json: %q", out)
	}
	if s := mustStatus(t, limit, n); s.Boot != before.Boot {
		t.Errorf("boot state %+v after --stage, want %+v", s.Boot, before.Boot)
	}
	if err := os.Remove(bundle); err != nil {
		t.Error(fmt.Errorf("the bundle: %w", err))
	}
}
