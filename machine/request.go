package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// answerMax bounds, in bytes, an answer that is read whole.
const answerMax = 16 << 20

// lineMax bounds, in bytes, one line of a stream.
const lineMax = 1 << 20

// send makes a request and returns its body if the answer is 2xx. The body must be closed.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader) (io.ReadCloser, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Address(), unwrapURL(err))
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, answerError(resp)
}

// unwrapURL takes off what net/http says of the method and the whole URL.
func unwrapURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// answerError reads the Error of an answer; of one that has none, its status is all there is.
func answerError(resp *http.Response) error {
	e := &Error{}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/json" || json.Unmarshal(data, e) != nil || e.Message == "" {
		e.Message = "the node answered " + resp.Status
	}
	e.Status = resp.StatusCode
	return e
}

// whole reads an answer to its end.
func (c *Client) whole(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	r, err := c.send(ctx, method, path, nil, contentType, body)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, answerMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Address(), err)
	}
	if len(data) > answerMax {
		return nil, fmt.Errorf("%s: an answer of more than %d bytes", c.Address(), answerMax)
	}
	return data, nil
}

// get decodes the answer of a GET.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return do[T](ctx, c, http.MethodGet, path, nil)
}

// post sends body, if it is not nil, as JSON and decodes the answer.
func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return do[T](ctx, c, http.MethodPost, path, body)
}

func do[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	var in io.Reader
	kind := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		in, kind = bytes.NewReader(data), "application/json"
	}
	return sent[T](c.whole(ctx, method, path, kind, in))
}

// sent decodes an answer that whole has read.
func sent[T any](data []byte, err error) (T, error) {
	var answer T
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("answer: %w", err)
	}
	return answer, nil
}
