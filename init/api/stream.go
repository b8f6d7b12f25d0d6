package api

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// stream is an answer that is written bit by bit. Safe for several goroutines.
type stream struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration // that the client may take to read a piece
}

// begin answers with 200 and the header, and goes on as a stream.
func (s *Server) begin(w http.ResponseWriter, contentType string) *stream {
	out := &stream{w: w, rc: http.NewResponseController(w), stall: s.limits.stall}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out.rc.SetWriteDeadline(time.Now().Add(out.stall))
	out.rc.Flush()
	out.rc.SetWriteDeadline(time.Time{})
	return out
}

// Write hands p to the client at once.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rc.SetWriteDeadline(time.Now().Add(s.stall))
	// A deadline that passes while nothing is written would end the stream as well.
	defer s.rc.SetWriteDeadline(time.Time{})
	n, err := s.w.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// line writes v as a line of JSON.
func (s *stream) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.Write(append(data, '\n'))
	return err
}

const jsonLines = "application/jsonl"
