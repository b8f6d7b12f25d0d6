package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server serves content by ranges, and misbehaves as its fields say.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	content  []byte
	ranges   []string // of all requests
	sent     int64    // bytes of bodies
	dieAfter int      // the next answers break off after so many bytes, …
	deaths   int      // … so often
	answer   func(w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T, content []byte) *server {
	t.Helper()
	s := &server{content: content}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges = append(s.ranges, r.Header.Get("Range"))
	if s.answer != nil && s.answer(w, r) {
		return
	}
	w.Header().Set("ETag", `"one"`)
	out := &counted{ResponseWriter: w, sent: &s.sent}
	if s.deaths > 0 {
		out.left, out.dying = s.dieAfter, true
		s.deaths--
	}
	http.ServeContent(out, r, "x.keelson", time.Unix(1_700_000_000, 0), bytes.NewReader(s.content))
	if out.dying && out.left == 0 {
		panic(http.ErrAbortHandler)
	}
}

// do runs f between requests.
func (s *server) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// counted counts what is sent, and breaks off if it is dying.
type counted struct {
	http.ResponseWriter
	sent  *int64
	left  int
	dying bool
}

func (c *counted) Write(p []byte) (int, error) {
	if c.dying {
		if len(p) > c.left {
			p = p[:c.left]
		}
		c.left -= len(p)
	}
	n, err := c.ResponseWriter.Write(p)
	*c.sent += int64(n)
	if c.dying && c.left == 0 {
		if f, ok := c.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		return n, errors.New("died")
	}
	return n, err
}

// impatient tries like patience and notes the pauses instead of making them.
func impatient(pauses *[]time.Duration) retry {
	return retry{tries: 4, first: 2, stall: 5 * time.Second, pause: func(ctx context.Context, n int, least time.Duration) error {
		if pauses != nil {
			*pauses = append(*pauses, least)
		}
		return context.Cause(ctx)
	}}
}

func mustOpen(t *testing.T, s *server, r retry) *urlSource {
	t.Helper()
	src, err := openURL(t.Context(), s.URL+"/x.keelson?token=secret", s.Client(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestURLReadsExactlyTheBytesThatAreAskedFor(t *testing.T) {
	data := content(100_000)
	s := serve(t, data)
	src := mustOpen(t, s, impatient(nil))
	if src.Size() != 100_000 {
		t.Fatalf("Size = %d, want 100000", src.Size())
	}
	for _, c := range []struct {
		off  int64
		n    int
		want int
		err  error
	}{{0, 100, 100, nil}, {99_900, 100, 100, nil}, {99_990, 100, 10, io.EOF}, {100_000, 1, 0, io.EOF}, {5000, 50_000, 50_000, nil}} {
		p := make([]byte, c.n)
		n, err := src.ReadAt(p, c.off)
		if n != c.want || !errors.Is(err, c.err) || !bytes.Equal(p[:n], data[c.off:c.off+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v, want %d, %v and the file's bytes", c.n, c.off, n, err, c.want, c.err)
		}
	}
	want := []string{"bytes=0-0", "bytes=0-99", "bytes=99900-99999", "bytes=99990-99999", "bytes=5000-54999"}
	if !slices.Equal(s.ranges, want) {
		t.Errorf("requests: %v, want %v", s.ranges, want)
	}
}

func TestTransferThatBreaksOffGoesOnWhereItWas(t *testing.T) {
	data := content(300_000)
	s := serve(t, data)
	src := mustOpen(t, s, impatient(nil))
	s.do(func() { s.ranges, s.sent, s.dieAfter, s.deaths = nil, 0, 70_000, 3 })
	p := make([]byte, 280_000)
	if n, err := src.ReadAt(p, 1000); n != len(p) || err != nil || !bytes.Equal(p, data[1000:281_000]) {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	want := []string{"bytes=1000-280999", "bytes=71000-280999", "bytes=141000-280999", "bytes=211000-280999"}
	if !slices.Equal(s.ranges, want) {
		t.Errorf("requests: %v, want %v", s.ranges, want)
	}
	if s.sent != 280_000 {
		t.Errorf("%d bytes were sent, want each of the 280000 once", s.sent)
	}
}

func TestServerThatStaysAwayIsAnErrorWithPlaceAndAdvice(t *testing.T) {
	s := serve(t, content(300_000))
	var pauses []time.Duration
	src := mustOpen(t, s, impatient(&pauses))
	s.do(func() { s.dieAfter, s.deaths = 50_000, 1 })
	s.do(func() {
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if len(s.ranges) > 2 {
				panic(http.ErrAbortHandler)
			}
			return false
		}
	})
	n, err := src.ReadAt(make([]byte, 200_000), 20_000)
	if n != 50_000 || err == nil {
		t.Fatalf("ReadAt = %d, %v, want the first 50000 bytes and an error", n, err)
	}
	for _, want := range []string{s.URL + "/x.keelson", "offset 70000", "4 tries", "it goes on from here"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q: has no %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("error %q: shows the URL's query", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %q: says that the file ends there", err)
	}
	if len(pauses) != 4 {
		t.Errorf("%d pauses, want one after the break and three between the tries", len(pauses))
	}
}

func TestStalledTransferIsBrokenOff(t *testing.T) {
	s := serve(t, content(1000))
	r := impatient(nil)
	r.stall = 50 * time.Millisecond
	src := mustOpen(t, s, r)
	stalls := 1
	s.do(func() {
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if stalls--; stalls < 0 {
				return false
			}
			<-r.Context().Done() // the client goes away
			return true
		}
	})
	if n, err := src.ReadAt(make([]byte, 1000), 0); n != 1000 || err != nil {
		t.Errorf("ReadAt = %d, %v, want all after another try", n, err)
	}
}

func TestContextEndsARead(t *testing.T) {
	s := serve(t, content(1000))
	ctx, cancel := context.WithCancel(t.Context())
	r := impatient(nil)
	r.tries = 1_000_000
	src, err := openURL(ctx, s.URL, s.Client(), r)
	if err != nil {
		t.Fatal(err)
	}
	s.do(func() {
		s.answer = func(w http.ResponseWriter, r *http.Request) bool { cancel(); panic(http.ErrAbortHandler) }
	})
	if _, err := src.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadAt = %v, want context.Canceled", err)
	}
}

func TestServerIsRefusedOrTriedAgainByItsAnswer(t *testing.T) {
	reply := func(status int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		is     error
		text   string
		pauses int
	}{
		{"no ranges", reply(200), ErrNoRanges, "keelson upgrade FILE", 0},
		{"not there", reply(404), nil, "404 Not Found", 0},
		{"forbidden", reply(403), nil, "403 Forbidden", 0},
		{"not implemented", reply(501), nil, "501", 0},
		{"other bytes", reply(206, "Content-Range", "bytes 1-10/1000"), nil, "bytes 0-9/SIZE", 0},
		{"more bytes", reply(206, "Content-Range", "bytes 0-99/1000"), nil, "bytes 0-9/SIZE", 0},
		{"size unknown", reply(206, "Content-Range", "bytes 0-9/*"), nil, "bytes 0-9/SIZE", 0},
		{"no Content-Range", reply(206), nil, "bytes 0-9/SIZE", 0},
		{"Content-Range beyond 64 bits", reply(206, "Content-Range", "bytes 0-9/99999999999999999999"), nil, "Content-Range", 0},
		{"compressed", reply(206, "Content-Range", "bytes 0-9/1000", "Content-Encoding", "gzip"), ErrNoRanges, "compression off", 0},
		{"another ETag", reply(206, "Content-Range", "bytes 0-9/1000", "ETag", `"two"`), ErrChanged, `"two"`, 0},
		{"another size", reply(206, "Content-Range", "bytes 0-9/1001", "ETag", `"one"`), ErrChanged, "1001", 0},
		{"shorter than before", reply(416), ErrChanged, "1000 bytes", 0},
		{"busy", reply(503, "Retry-After", "7"), nil, "503", 3},
		{"too many", reply(429, "Retry-After", "86400"), nil, "429", 3},
		{"bad gateway", reply(502), nil, "502", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, content(1000))
			var pauses []time.Duration
			src := mustOpen(t, s, impatient(&pauses))
			s.do(func() { s.answer = c.answer })
			_, err := src.ReadAt(make([]byte, 10), 0)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("ReadAt = %v, want %v with %q in it", err, c.is, c.text)
			}
			if len(pauses) != c.pauses {
				t.Errorf("%d pauses, want %d", len(pauses), c.pauses)
			}
			for _, p := range pauses {
				if want := map[string]time.Duration{"busy": 7 * time.Second, "too many": maxRetryAfter}[c.name]; p != want {
					t.Errorf("waits %s at least, want %s", p, want)
				}
			}
		})
	}
}

func TestWithoutETagLastModifiedTellsThatTheFileWasReplaced(t *testing.T) {
	s := serve(t, content(1000))
	date := "Mon, 02 Nov 2026 10:00:00 GMT"
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Range", "bytes 0-0/1000")
		w.Header().Set("Last-Modified", date)
		w.WriteHeader(206)
		_, err := w.Write([]byte{0})
		return err == nil
	}
	src := mustOpen(t, s, impatient(nil))
	if _, err := src.ReadAt(make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
	s.do(func() { date = "Mon, 02 Nov 2026 10:00:01 GMT" })
	if _, err := src.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrChanged) {
		t.Errorf("ReadAt = %v, want ErrChanged", err)
	}
}

func TestURLsThatAreNoneAreRefused(t *testing.T) {
	for _, u := range []string{"", "x.keelson", "ftp://host/x", "https:///x", "http://[::1/x", "http://user:secret@host:port/x"} {
		_, err := openURL(t.Context(), u, nil, impatient(nil))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("OpenURL(%q) = %v, want an error without the password", u, err)
		}
	}
}

func TestUntrustedServerIsNotTriedAgain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	var pauses []time.Duration
	_, err := openURL(t.Context(), s.URL, nil, impatient(&pauses))
	if err == nil || !strings.Contains(err.Error(), "certificate") || len(pauses) != 0 {
		t.Errorf("OpenURL = %v after %d pauses, want an error of the certificate at once", err, len(pauses))
	}
}

func TestFileMustBeARegularFile(t *testing.T) {
	if _, err := OpenFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("OpenFile(folder) = %v", err)
	}
	if _, err := OpenFile(fmt.Sprintf("%s/none", t.TempDir())); err == nil {
		t.Error("OpenFile of nothing = nil")
	}
}
