package api

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietHandler passes a few records a minute on: strangers must not fill the log, which is on flash, by shaking hands badly.
type quietHandler struct {
	slog.Handler
	state *quietState
}

type quietState struct {
	mu     sync.Mutex
	bucket bucket
	held   int
}

func quiet(h slog.Handler) slog.Handler { return quietHandler{h, &quietState{}} }

// Handle drops what comes too fast, and says later how much that was.
func (q quietHandler) Handle(ctx context.Context, r slog.Record) error {
	q.state.mu.Lock()
	ok := q.state.bucket.allow(time.Now(), 10, 10.0/60)
	held := q.state.held
	if ok {
		q.state.held = 0
	} else {
		q.state.held++
	}
	q.state.mu.Unlock()
	if !ok {
		return nil
	}
	if held > 0 {
		r.AddAttrs(slog.Int("more", held))
	}
	return q.Handler.Handle(ctx, r)
}
