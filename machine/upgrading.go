package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// errNoResult ends an upgrade whose node fell silent: the other slot may be half written, which does no harm; ask again.
var errNoResult = errors.New("the connection ended before the upgrade did; the boot state is unchanged unless status says otherwise, and the same command goes on where it stopped")

// Upgrade lets the node fetch and write a bundle. progress, if it is not nil, is called from time to time. A bundle that the node does
// not want is an ErrRefused, a second upgrade at once, or one while a trial runs, an ErrBusy. Role admin.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest, progress func(UpgradeProgress)) (UpgradeResult, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return UpgradeResult{}, err
	}
	answer, err := c.send(ctx, http.MethodPost, "/v1/upgrade", nil, "application/json", bytes.NewReader(body))
	if err != nil {
		return UpgradeResult{}, err
	}
	defer answer.Close()
	return c.follow(answer, progress, func(r Range) error {
		return fmt.Errorf("stream: the node asks for bytes %d+%d of a bundle that it fetches itself", r.Offset, r.Length)
	})
}

// Push is Upgrade with a bundle that this computer has: size bytes of file, of which the node asks for what it does not have. r.URL is not used.
func (c *Client) Push(ctx context.Context, r UpgradeRequest, file io.ReaderAt, size int64, progress func(UpgradeProgress)) (UpgradeResult, error) {
	q := url.Values{"size": {strconv.FormatInt(size, 10)}}
	if r.SHA256 != "" {
		q.Set("sha256", r.SHA256)
	}
	if r.Stage {
		q.Set("stage", "true")
	}
	if r.NoReboot {
		q.Set("noReboot", "true")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := io.Pipe()
	defer in.Close()
	defer out.Close()
	answer, err := c.send(ctx, http.MethodPost, "/v1/upgrade/push", q, "application/octet-stream", in)
	if err != nil {
		return UpgradeResult{}, err
	}
	defer answer.Close()
	// The node asks for a range only when it has read the one before.
	return c.follow(answer, progress, func(r Range) error {
		if r.Offset < 0 || r.Length < 0 || r.Length > size-r.Offset {
			return fmt.Errorf("stream: the node asks for bytes %d+%d of a bundle of %d", r.Offset, r.Length, size)
		}
		_, err := io.Copy(out, io.NewSectionReader(file, r.Offset, r.Length))
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // the node wants no more: the next line says why
		}
		return err
	})
}

// follow reads the answer of an upgrade to its end.
func (c *Client) follow(answer io.Reader, progress func(UpgradeProgress), read func(Range) error) (result UpgradeResult, err error) {
	finished := false
	err = lines(answer, func(m UpgradeMessage) error {
		switch {
		case m.Error != nil:
			return m.Error
		case m.Result != nil:
			result, finished = *m.Result, true
			return ErrStop
		case m.Read != nil:
			return read(*m.Read)
		case m.Progress != nil && progress != nil:
			progress(*m.Progress)
		}
		return nil
	})
	if !finished && (err == nil || !errors.As(err, new(*Error))) {
		return UpgradeResult{}, fmt.Errorf("%s: %w", c.Address(), errors.Join(errNoResult, err))
	}
	return result, c.ended(err)
}
