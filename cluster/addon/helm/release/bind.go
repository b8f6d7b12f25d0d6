package release

import (
	"context"
	"io"
	"net/http"
	"sync"

	"k8s.io/client-go/rest"
)

// Helm makes many small requests, one after the other; client-go's default of five in a
// second would make an install of a large chart take minutes.
const (
	qps   = 50
	burst = 100
)

// bind returns a copy of cfg whose requests end with ctx. Most of Helm's library knows no
// context; so an action of it ends because nothing can be read or written any more.
func bind(ctx context.Context, cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS, c.Burst = qps, burst
	c.RateLimiter = nil
	c.UserAgent = "keelson-helm-controller"
	c.WarningHandler = rest.NoWarnings{}
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return &boundTransport{ctx, next} })
	return c
}

type boundTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

// RoundTrip sends one request. Its body ends with either context too.
func (b *boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.ctx.Err() != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, context.Cause(b.ctx)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })
	done := func() {
		stop()
		cancel(nil)
	}
	resp, err := b.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		done()
		return nil, err
	}
	resp.Body = &boundBody{ReadCloser: resp.Body, done: sync.OnceFunc(done)}
	return resp, nil
}

type boundBody struct {
	io.ReadCloser
	done func()
}

func (b *boundBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}
