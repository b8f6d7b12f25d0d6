package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// kind is how a route answers.
type kind int

const (
	short kind = iota // one answer, soon
	long              // a stream, or work that takes minutes
)

// route is a method of a path.
type route struct {
	method, path string
	admin        bool // the role read-only is refused
	kind         kind
	body         int64 // bytes that its body may have; 0: it has none; -1: the handler bounds it
	serve        func(s *Server, w http.ResponseWriter, r *http.Request, by caller) error
}

// routes are all there are. docs/machine-api.md has them in this order.
var routes = []route{
	{"GET", "/v1/version", false, short, 0, (*Server).getVersion},
	{"GET", "/v1/status", false, short, 0, (*Server).getStatus},
	{"GET", "/v1/services", false, short, 0, (*Server).getServices},
	{"GET", "/v1/ps", false, short, 0, (*Server).getProcesses},
	{"GET", "/v1/disks", false, short, 0, (*Server).getDisks},
	{"GET", "/v1/network", false, short, 0, (*Server).getNetwork},
	{"GET", "/v1/time", false, short, 0, (*Server).getTime},
	{"GET", "/v1/certificates", false, short, 0, (*Server).getCertificates},
	{"GET", "/v1/config", false, short, 0, (*Server).getConfig},
	{"GET", "/v1/logs/{service}", false, long, 0, (*Server).getLogs},
	{"GET", "/v1/dmesg", false, long, 0, (*Server).getDmesg},
	{"GET", "/v1/events", false, long, 0, (*Server).getEvents},
	{"GET", "/v1/support", false, long, 0, (*Server).getSupport},
	{"GET", "/v1/kubeconfig", true, short, 0, (*Server).getKubeconfig},
	{"POST", "/v1/services/{service}/restart", true, short, 0, (*Server).restart},
	{"POST", "/v1/reboot", true, short, 0, (*Server).reboot},
	{"POST", "/v1/poweroff", true, short, 0, (*Server).powerOff},
	{"POST", "/v1/reset", true, short, bodyMax, (*Server).reset},
	{"POST", "/v1/rollback", true, long, 0, (*Server).rollback},
	{"POST", "/v1/upgrade", true, long, bodyMax, (*Server).upgrade},
	{"POST", "/v1/upgrade/push", true, long, -1, (*Server).push},
	{"POST", "/v1/certificates/renew", true, short, 0, (*Server).renew},
	{"PUT", "/v1/config", true, short, configMax, (*Server).putConfig},
}

// handler serves all routes.
func (s *Server) handler() http.Handler {
	paths := map[string][]route{}
	for _, x := range routes {
		paths[x.path] = append(paths[x.path], x)
	}
	mux := http.NewServeMux()
	for path, list := range paths {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, list) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, nil) })
	return mux
}

// dispatch finds the route for r's method among those of its path, and serves it. Who may do nothing learns nothing, not even what there is.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, list []route) {
	by, refused := identify(r, s.Now())
	i := slices.IndexFunc(list, func(x route) bool { return x.method == r.Method })
	switch {
	case refused != nil:
		writeError(w, refused)
	case len(list) == 0:
		writeError(w, refuse(http.StatusNotFound, "there is no %s in the machine API", cut(r.URL.Path)))
	case i < 0:
		var allowed []string
		for _, x := range list {
			allowed = append(allowed, x.method)
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, refuse(http.StatusMethodNotAllowed, "%s takes %s, not %s", cut(r.URL.Path), strings.Join(allowed, " and "), cut(r.Method)))
	case list[i].admin && !by.admin:
		writeError(w, refuse(http.StatusForbidden, "%s %s needs the role %q; the certificate has %q", r.Method, cut(r.URL.Path), machine.RoleAdmin, machine.RoleReadOnly))
	default:
		s.serve(w, r, list[i], by)
	}
}

// cut bounds what an answer or a log repeats of a request.
func cut(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// serve runs a route within the limits of its kind.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, x route, by caller) {
	places := s.requests
	if x.kind == long {
		places = s.streams
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	default:
		writeError(w, refuse(http.StatusServiceUnavailable, "the node serves %d such requests already", cap(places)))
		return
	}
	rc := http.NewResponseController(w)
	if x.body != 0 { // without a body a deadline would end a stream of HTTP/1
		rc.SetReadDeadline(time.Now().Add(s.limits.body))
	}
	if x.kind == short {
		rc.SetWriteDeadline(time.Now().Add(s.limits.answer))
	}
	if x.body >= 0 {
		r.Body = http.MaxBytesReader(w, r.Body, x.body)
	}
	answered := &watcher{ResponseWriter: w}
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		s.Log.Error("BUG: panic in a handler", "method", x.method, "path", x.path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		if answered.began {
			panic(http.ErrAbortHandler) // ends this stream, and the log is written already
		}
		writeError(w, refuse(http.StatusInternalServerError, "BUG: %s %s: panic: %v", x.method, x.path, v))
	}()
	if x.method != http.MethodGet {
		s.Log.Info("request", "method", x.method, "path", cut(r.URL.Path), "by", by.name)
	}
	if err := x.serve(s, answered, r, by); err != nil {
		if answered.began {
			panic(http.ErrAbortHandler) // the client must not take this for the stream's end
		}
		if e := asError(err); e.Status >= 500 {
			s.Log.Warn("request failed", "method", x.method, "path", cut(r.URL.Path), "by", by.name, "error", err)
		}
		writeError(w, err)
	}
}

// watcher knows whether an answer has begun.
type watcher struct {
	http.ResponseWriter
	began bool
}

func (w *watcher) WriteHeader(status int) {
	w.began = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *watcher) Write(p []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }
