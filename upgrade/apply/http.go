package apply

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Errors of a URL. Both are final.
var (
	// ErrNoRanges says that the server sends whole files only.
	ErrNoRanges = errors.New("the server does not serve parts of a file (HTTP range requests)")
	// ErrChanged says that the file at the URL is another one than at the beginning. Start again.
	ErrChanged = errors.New("the file was replaced while it was read")
)

// retry says how a URL is read again after a failure.
type retry struct {
	// tries is how often one byte is asked for, at the very first first times. They are counted anew whenever a byte came.
	tries, first int
	// stall is how long a transfer may bring nothing.
	stall time.Duration
	// pause waits before try n, from 1 on, at least for the given time.
	pause func(ctx context.Context, n int, least time.Duration) error
}

// patience waits 1, 2, 4, 8, 16, 30, 30 s: a server that is restarted, or a switch, is back by then. At first, when nothing is lost
// yet, somebody waits to hear of the wrong name.
var patience = retry{tries: 8, first: 3, stall: 30 * time.Second, pause: func(ctx context.Context, n int, least time.Duration) error {
	wait := max(least, min(time.Second<<min(n-1, 5), 30*time.Second))
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wait):
		return nil
	}
}}

// maxRetryAfter bounds what a server may ask for by Retry-After.
const maxRetryAfter = time.Minute

// urlSource reads a file by HTTP range requests (RFC 9110, section 14).
type urlSource struct {
	ctx    context.Context // ends all reads: ReadAt has no argument for it
	client *http.Client
	url    string
	shown  string // for errors: without user, query and fragment, which may hold secrets
	retry  retry
	size   int64
	etag   string // of the first answer, or empty
	date   string // Last-Modified of the first answer, or empty
}

// OpenURL returns the bundle at an http or https URL. The server must know range requests. client may be nil. ctx ends
// every read of the source. A transfer that breaks off, or a server that is away, is tried again with growing pauses, from where it
// broke off, for about two minutes without a byte; then the error says where.
// Errors: ErrNoRanges; ErrChanged from reads; those of client.
func OpenURL(ctx context.Context, rawURL string, client *http.Client) (Source, error) {
	return openURL(ctx, rawURL, client, patience)
}

func openURL(ctx context.Context, rawURL string, client *http.Client, r retry) (*urlSource, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("bundle URL: %w", bare(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("bundle URL %s: want http://HOST/… or https://HOST/…", shown(u))
	}
	if client == nil {
		client = newClient()
	}
	s := &urlSource{ctx: ctx, client: client, url: rawURL, shown: shown(u), retry: r, size: -1}
	if _, err := s.ReadAt(make([]byte, 1), 0); err != nil {
		return nil, err
	}
	return s, nil
}

// shown is a URL as errors may print it.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// bare takes the URL out of an error of net/http: it would show what shown hides.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
	}}
}

func (s *urlSource) Size() int64 { return s.size }

func (s *urlSource) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// ReadAt reads len(p) bytes at off by one request, or by more when one breaks off.
func (s *urlSource) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: offset %d", s.shown, off)
	}
	short := false
	if s.size >= 0 {
		if off >= s.size {
			return 0, io.EOF
		}
		if left := s.size - off; int64(len(p)) > left {
			p, short = p[:left], true
		}
	}
	n := 0
	for try := 1; n < len(p); try++ {
		got, err := s.get(p[n:], off+int64(n))
		n += got
		if n == len(p) {
			break
		}
		if got > 0 {
			try = 0
		}
		if cause := context.Cause(s.ctx); cause != nil {
			return n, fmt.Errorf("read %s at byte %d: %w", s.shown, off+int64(n), cause)
		}
		var f *final
		if errors.As(err, &f) {
			return n, fmt.Errorf("read %s: %w", s.shown, f.err)
		}
		tries, again := s.retry.first, ""
		if s.size >= 0 {
			tries = s.retry.tries
		}
		if try >= tries {
			if s.size >= 0 {
				again = ". Start the upgrade again when the server is back: it goes on from here, what is on the disk is not fetched again"
			}
			return n, fmt.Errorf("read %s: no byte from offset %d on after %d tries: %w%s", s.shown, off+int64(n), try, err, again)
		}
		var busy *later
		least := time.Duration(0)
		if errors.As(err, &busy) {
			least = min(busy.after, maxRetryAfter)
		}
		if err := s.retry.pause(s.ctx, max(try, 1), least); err != nil {
			return n, fmt.Errorf("read %s at byte %d: %w", s.shown, off+int64(n), err)
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// final is an error that another try does not mend.
type final struct{ err error }

func (f *final) Error() string { return f.err.Error() }
func (f *final) Unwrap() error { return f.err }

// later is an answer that asks for another try after some time.
type later struct {
	status string
	after  time.Duration
}

func (l *later) Error() string { return "the server answers " + l.status }

// get makes one request for p at off, and returns how many bytes came.
func (s *urlSource) get(p []byte, off int64) (int, error) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	// Also while the header is awaited: a client of the caller's may have no limit.
	stalled := time.AfterFunc(s.retry.stall, func() { cancel(fmt.Errorf("no byte for %s", s.retry.stall)) })
	defer stalled.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return 0, &final{bare(err)}
	}
	last := off + int64(len(p)) - 1
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, last))
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := s.client.Do(req)
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return 0, &final{bare(err)}
	}
	if err != nil {
		return 0, because(ctx, bare(err))
	}
	defer func() { _ = resp.Body.Close() }() // what matters was read
	if err := s.check(resp, off, last); err != nil {
		return 0, err
	}
	n := 0
	for n < len(p) {
		m, err := resp.Body.Read(p[n:])
		n += m
		stalled.Reset(s.retry.stall)
		if err != nil && n < len(p) {
			return n, because(ctx, bare(err))
		}
	}
	return n, nil
}

// errClosed is what a server that goes away in the middle gives. It is no io.EOF for anybody: the file does not end there.
var errClosed = errors.New("the server closed the connection")

// because returns why ctx ended, if it did, else err.
func because(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	return err
}

// contentRange is "bytes FIRST-LAST/SIZE" (RFC 9110, section 14.4).
var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+)$`)

// check says whether an answer is bytes [off, last] of the file that the first answer was of, and learns from the first.
func (s *urlSource) check(resp *http.Response, off, last int64) error {
	switch c := resp.StatusCode; {
	case c == http.StatusPartialContent:
	case c == http.StatusOK:
		return &final{fmt.Errorf("%w; use one that does (nginx, Apache, Caddy, object storage), or push the bundle from your computer: keelson upgrade FILE", ErrNoRanges)}
	case c == http.StatusRequestedRangeNotSatisfiable && s.size < 0:
		return &final{errors.New("the file is empty")}
	case c == http.StatusRequestedRangeNotSatisfiable:
		return &final{fmt.Errorf("%w: it ends before byte %d, at first it had %d bytes: start again", ErrChanged, off, s.size)}
	case c == http.StatusTooManyRequests || c == http.StatusRequestTimeout || c >= 500 && c != http.StatusNotImplemented && c != http.StatusHTTPVersionNotSupported:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // a date, or nothing, counts as none
		return &later{resp.Status, time.Duration(max(0, min(seconds, int(maxRetryAfter/time.Second)))) * time.Second}
	default:
		return &final{fmt.Errorf("the server answers %s", resp.Status)}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &final{fmt.Errorf("%w: it answers with content encoding %q; switch compression off for bundles", ErrNoRanges, e)}
	}
	header := resp.Header.Get("Content-Range")
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return &final{fmt.Errorf("the server answers 206 with Content-Range %q, want bytes %d-%d/SIZE", header, off, last)}
	}
	var v [3]int64
	for i := range v {
		var err error
		if v[i], err = strconv.ParseInt(m[i+1], 10, 64); err != nil {
			return &final{fmt.Errorf("the server answers 206 with Content-Range %q: %w", header, err)}
		}
	}
	// Fewer bytes than asked for are allowed; what is missing is asked for again.
	if v[0] != off || v[1] > last || v[1] < off || v[2] <= v[1] {
		return &final{fmt.Errorf("the server answers 206 with Content-Range %q, want bytes %d-%d/SIZE", header, off, last)}
	}
	etag, date := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	if s.size < 0 {
		s.size, s.etag, s.date = v[2], etag, date
		return nil
	}
	switch {
	case v[2] != s.size:
		return &final{fmt.Errorf("%w: it has %d bytes, at first %d: start again", ErrChanged, v[2], s.size)}
	case s.etag != "" && etag != "" && etag != s.etag:
		return &final{fmt.Errorf("%w: its ETag is %s, at first %s: start again", ErrChanged, etag, s.etag)}
	case s.etag == "" && date != s.date:
		return &final{fmt.Errorf("%w: its Last-Modified is %q, at first %q: start again", ErrChanged, date, s.date)}
	}
	return nil
}
