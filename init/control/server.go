package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// requestMax bounds a request, in bytes.
	requestMax = 64 << 10
	// requestLimit is how long a client may take to send its request.
	requestLimit = 5 * time.Second
	// answerLimit is how long it may take to read a line of the answer.
	answerLimit = 10 * time.Second
	// connections is how many clients are served at once, followers how many of these may follow events: those stay, and
	// must not keep others out.
	connections = 16
	followers   = 8
)

// Server answers requests. Its functions are called from several goroutines and must not block for long.
type Server struct {
	Status func() Status
	Trial  func() *Trial
	// Restart begins the restart of a service.
	Restart func(service, by string) error
	// End begins the end of the machine: OpReboot, OpPowerOff or OpReset with what.
	End    func(op Op, what, by string) error
	Events *Ring
}

// ErrBusy is the answer to a client that finds all places taken.
var ErrBusy = errors.New("PID 1 has too many connections; try again")

// Listen makes a unix socket at path, PID 1's or another one of the node's, for the user that runs this process alone.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Serve answers until ctx is done, and returns when the last connection has ended. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var served sync.WaitGroup
	defer served.Wait()
	places, following := make(chan struct{}, connections), make(chan struct{}, followers)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			time.Sleep(100 * time.Millisecond) // out of descriptors: not to spin on it
			continue
		}
		select {
		case places <- struct{}{}:
			served.Go(func() {
				defer func() { <-places }()
				s.serve(ctx, conn, following)
			})
		default:
			conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			send(conn, Answer{Error: ErrBusy.Error()})
			conn.Close()
		}
	}
}

// serve answers one connection. A panic ends it with an error: what a client asks must not end PID 1.
func (s *Server) serve(ctx context.Context, conn net.Conn, following chan struct{}) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	defer func() {
		if v := recover(); v != nil {
			s.Events.Add(EventBoot, "BUG: control socket: panic: %v", v)
			s.send(conn, Answer{Error: fmt.Sprintf("BUG: panic: %v", v)})
		}
	}()
	conn.SetReadDeadline(time.Now().Add(requestLimit))
	r, err := readRequest(conn)
	if err != nil {
		s.send(conn, Answer{Error: err.Error()})
		return
	}
	if r.Op == OpEvents {
		s.events(ctx, conn, r, following)
		return
	}
	s.send(conn, s.answer(r))
}

// readRequest reads a line. The rest of a longer one is left unread.
func readRequest(r io.Reader) (Request, error) {
	var q Request
	line, err := bufio.NewReaderSize(r, requestMax).ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return q, fmt.Errorf("request is longer than %d bytes", requestMax)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return q, fmt.Errorf("request did not come within %v", requestLimit)
	case err != nil:
		return q, fmt.Errorf("read request: want a line of JSON: %w", err)
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return q, fmt.Errorf("request is no JSON object of this socket: %w", err)
	}
	return q, nil
}

func (s *Server) answer(r Request) Answer {
	if r.By == "" {
		r.By = "the control socket"
	}
	var err error
	switch r.Op {
	case OpStatus:
		st := s.Status()
		return Answer{Status: &st}
	case OpTrial:
		return Answer{Trial: s.Trial()}
	case OpRestart:
		err = s.Restart(r.Service, r.By)
	case OpRenew:
		err = s.Restart("node", r.By)
	case OpReset:
		if r.What != ResetState && r.What != ResetAll {
			err = fmt.Errorf("reset %q: want %q or %q", r.What, ResetState, ResetAll)
			break
		}
		err = s.End(r.Op, r.What, r.By)
	case OpReboot, OpPowerOff:
		err = s.End(r.Op, "", r.By)
	default:
		err = fmt.Errorf("op %q is not known", r.Op)
	}
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{}
}

// events writes a line per event until there are no more, or, with Follow, until the client has gone.
func (s *Server) events(ctx context.Context, conn net.Conn, r Request, following chan struct{}) {
	gone := make(chan struct{})
	if r.Follow {
		select {
		case following <- struct{}{}:
			defer func() { <-following }()
		default:
			s.send(conn, Answer{Error: fmt.Sprintf("%d clients follow the events already", followers)})
			return
		}
		conn.SetReadDeadline(time.Time{})
		go func() { // a client has nothing more to say: what comes is its end
			defer close(gone)
			io.Copy(io.Discard, conn)
		}()
	}
	for {
		events, changed := s.Events.After(r.After)
		for _, e := range events {
			if s.send(conn, e) != nil {
				return
			}
			r.After = e.ID
		}
		if !r.Follow {
			return
		}
		select {
		case <-changed:
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) send(conn net.Conn, v any) error {
	conn.SetWriteDeadline(time.Now().Add(answerLimit))
	return send(conn, v)
}

func send(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
