package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/logtail"
	"github.com/keelson-os/keelson/machine"
)

// serviceName is what a service may be called: it becomes a part of a path.
var serviceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// following says whether the client wants what comes as well.
func following(r *http.Request) (bool, error) {
	text := r.URL.Query().Get("follow")
	if text == "" {
		return false, nil
	}
	follow, err := strconv.ParseBool(text)
	if err != nil {
		return false, refuse(http.StatusBadRequest, "follow=%s: want true or false", cut(text))
	}
	return follow, nil
}

// until ends with the client and with the server.
func (s *Server) until(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(s.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

func (s *Server) getLogs(w http.ResponseWriter, r *http.Request, _ caller) error {
	follow, err := following(r)
	if err != nil {
		return err
	}
	o := logtail.Options{Tail: logtail.All, Follow: follow}
	if text := r.URL.Query().Get("tail"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return refuse(http.StatusBadRequest, "tail=%s: want a number of lines", cut(text))
		}
		o.Tail = n
	}
	name := r.PathValue("service")
	path := filepath.Join(s.Places.Logs, name+".log")
	if !serviceName.MatchString(name) || len(logtail.Files(path)) == 0 {
		return refuse(http.StatusNotFound, "there is no log of a service %q on this node; \"services\" lists them", cut(name))
	}
	ctx, cancel := s.until(r)
	defer cancel()
	out := s.redactor().Writer(s.begin(w, "text/plain; charset=utf-8"))
	err = logtail.Copy(ctx, out, path, o)
	return errors.Join(err, out.Close())
}

func (s *Server) getDmesg(w http.ResponseWriter, r *http.Request, _ caller) error {
	follow, err := following(r)
	if err != nil {
		return err
	}
	ctx, cancel := s.until(r)
	defer cancel()
	var out *stream
	err = s.Places.Roots.KernelLog(ctx, follow, func(m machine.KernelMessage) error {
		if out == nil {
			out = s.begin(w, jsonLines)
		}
		return out.line(m)
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return refuse(http.StatusServiceUnavailable, "kernel log: %v", err)
	}
	if err == nil && out == nil {
		s.begin(w, jsonLines)
	}
	return err
}

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request, _ caller) error {
	follow, err := following(r)
	if err != nil {
		return err
	}
	var after uint64
	if text := r.URL.Query().Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return refuse(http.StatusBadRequest, "after=%s: want the ID of an event", cut(text))
		}
	}
	ctx, cancel := s.until(r)
	defer cancel()
	// PID 1 may say at once that it cannot; without that, and without an event, the client still has to hear that its stream has begun.
	var out *stream
	start := sync.OnceFunc(func() { out = s.begin(w, jsonLines) })
	timer := time.AfterFunc(time.Second, start)
	err = s.Control.Events(ctx, after, follow, func(e control.Event) error {
		start()
		return out.line(machine.Event{ID: e.ID, Time: e.Time, Kind: e.Kind, Text: s.redactor().Line(e.Text)})
	})
	if err != nil && timer.Stop() && out == nil {
		return unavailable(err)
	}
	start()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var _ io.Writer = (*stream)(nil)
