package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// ErrStop, returned by a callback, ends a stream without an error.
var ErrStop = errors.New("stop")

// LogOptions says how much of a log is wanted.
type LogOptions struct {
	Follow bool // go on with what is written from now on, until ctx ends
	Tail   int  // lines from the end; 0: all there is, of all its files; negative: none
}

// Logs returns the log of a service ("init", "node", "machined") as it was written. The caller closes it. With Follow
// it ends with ctx or with Close, not by itself.
func (c *Client) Logs(ctx context.Context, service string, o LogOptions) (io.ReadCloser, error) {
	q := url.Values{}
	if o.Follow {
		q.Set("follow", "true")
	}
	if o.Tail != 0 {
		q.Set("tail", strconv.Itoa(max(0, o.Tail)))
	}
	return c.send(ctx, http.MethodGet, "/v1/logs/"+url.PathEscape(service), q, "", nil)
}

// Dmesg calls each for every message of the kernel's buffer, and with follow also for those to come, until ctx ends or each returns an error.
func (c *Client) Dmesg(ctx context.Context, follow bool, each func(KernelMessage) error) error {
	return stream(ctx, c, "/v1/dmesg", followQuery(follow), each)
}

// Events calls each for every event after the one with the ID after (0: all since boot), and with follow also for those to come.
func (c *Client) Events(ctx context.Context, after uint64, follow bool, each func(Event) error) error {
	q := followQuery(follow)
	if after > 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	return stream(ctx, c, "/v1/events", q, each)
}

func followQuery(follow bool) url.Values {
	q := url.Values{}
	if follow {
		q.Set("follow", "true")
	}
	return q
}

// Support returns a tar.gz with what one needs to find out what is wrong with the node, and no secret. The caller closes it.
func (c *Client) Support(ctx context.Context) (io.ReadCloser, error) {
	return c.send(ctx, http.MethodGet, "/v1/support", nil, "", nil)
}

// stream decodes a JSON value a line. It returns nil when the stream has ended.
func stream[T any](ctx context.Context, c *Client, path string, q url.Values, each func(T) error) error {
	r, err := c.send(ctx, http.MethodGet, path, q, "", nil)
	if err != nil {
		return err
	}
	defer r.Close()
	return c.ended(lines(r, each))
}

// ended adds the node to an error of its stream.
func (c *Client) ended(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrStop):
		return nil
	case errors.As(err, new(*Error)):
		return err
	}
	return fmt.Errorf("%s: %w", c.Address(), err)
}

// lines calls each for every line of r.
func lines[T any](r io.Reader, each func(T) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, lineMax)
	for s.Scan() {
		if len(s.Bytes()) == 0 {
			continue // a sign of life
		}
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
	return s.Err()
}
