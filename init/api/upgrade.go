package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// Source is where a bundle is read from.
type Source = interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Slots reads and changes the slots; package slots is the node's. Errors that are not the node's own fault are *machine.Error.
type Slots interface {
	// Boot is what the boot loader will do, and the slot of the next boot.
	Boot() (machine.Boot, string, error)
	// Busy says whether Upgrade or Rollback is at work.
	Busy() bool
	// Open opens the bundle at a URL that the node can reach.
	Open(ctx context.Context, url string) (Source, error)
	// Upgrade writes a bundle and arms it; q.URL is not looked at. by is who asked for it.
	Upgrade(ctx context.Context, src Source, q machine.UpgradeRequest, by string, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error)
	// Rollback makes the other slot the next to boot, or calls an upgrade off.
	Rollback(ctx context.Context, by string) (machine.Rollback, error)
}

// progressEvery is the least time between two lines of progress within a phase.
const progressEvery = time.Second

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, by caller) error {
	var q machine.UpgradeRequest
	if err := readJSON(r, &q); err != nil {
		return err
	}
	if q.URL == "" {
		return refuse(http.StatusBadRequest, "upgrade: \"url\" is missing")
	}
	return s.runUpgrade(w, r, q, by, func(ctx context.Context, _ *stream) (Source, error) { return s.Slots.Open(ctx, q.URL) })
}

func (s *Server) push(w http.ResponseWriter, r *http.Request, by caller) error {
	query := r.URL.Query()
	q := machine.UpgradeRequest{SHA256: query.Get("sha256")}
	size, err := strconv.ParseInt(query.Get("size"), 10, 64)
	if err != nil || size <= 0 {
		return refuse(http.StatusBadRequest, "size=%s: want the number of the bundle's bytes", cut(query.Get("size")))
	}
	for name, into := range map[string]*bool{"stage": &q.Stage, "noReboot": &q.NoReboot} {
		if text := query.Get(name); text != "" {
			if *into, err = strconv.ParseBool(text); err != nil {
				return refuse(http.StatusBadRequest, "%s=%s: want true or false", name, cut(text))
			}
		}
	}
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex() // HTTP/1; HTTP/2 always is
	return s.runUpgrade(w, r, q, by, func(_ context.Context, out *stream) (Source, error) {
		return &pushed{out: out, in: r.Body, rc: rc, size: size, limit: s.limits.push}, nil
	})
}

// runUpgrade answers with a stream that ends with a result or an error. The client's end ends the upgrade, until it is armed.
func (s *Server) runUpgrade(w http.ResponseWriter, r *http.Request, q machine.UpgradeRequest, by caller, open func(context.Context, *stream) (Source, error)) error {
	if s.Slots.Busy() {
		return refuse(http.StatusConflict, "another upgrade is being written")
	}
	if err := s.settled(r.Context()); err != nil {
		return err
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	ctx, cancel := s.until(r)
	defer cancel()
	out := s.begin(w, jsonLines)
	result, err := func() (machine.UpgradeResult, error) {
		src, err := open(ctx, out)
		if err != nil {
			return machine.UpgradeResult{}, err
		}
		defer src.Close()
		return s.Slots.Upgrade(ctx, src, q, by.name, throttled(out))
	}()
	if err == nil && result.Armed && !q.NoReboot {
		out.line(machine.UpgradeMessage{Progress: &machine.UpgradeProgress{Phase: "reboot"}})
		// Also when the client has gone by now: it asked for it, and the upgrade is armed.
		if err = s.Control.Reboot(context.WithoutCancel(ctx), by.name+", for the upgrade to "+result.To.Version); err != nil {
			e := refuse(http.StatusServiceUnavailable, "the upgrade is armed, but PID 1 did not begin the reboot: %v", err)
			e.Do = "keelson reboot"
			err = e
		}
		result.Reboot = err == nil
	}
	if err != nil {
		e := asError(err)
		s.Log.Warn("upgrade failed", "by", by.name, "error", e)
		return out.line(machine.UpgradeMessage{Error: e})
	}
	s.Log.Info("upgrade", "by", by.name, "version", result.To.Version, "slot", result.To.Slot, "armed", result.Armed,
		"fetched", result.Fetched, "reused", result.Reused, "written", result.Written, "duration", result.Duration.Duration())
	return out.line(machine.UpgradeMessage{Result: &result})
}

// throttled writes progress to out, at most once in progressEvery but at the beginning of a phase.
func throttled(out *stream) func(machine.UpgradeProgress) {
	var mu sync.Mutex
	var last time.Time
	var phase string
	return func(p machine.UpgradeProgress) {
		mu.Lock()
		skip := p.Phase == phase && time.Since(last) < progressEvery
		if !skip {
			last, phase = time.Now(), p.Phase
		}
		mu.Unlock()
		if !skip {
			out.line(machine.UpgradeMessage{Progress: &p})
		}
	}
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request, by caller) error {
	if s.Slots.Busy() {
		return refuse(http.StatusConflict, "an upgrade is being written")
	}
	p, err := s.pid1(r.Context())
	switch {
	case err != nil:
		return unavailable(err)
	case p.Ending != "":
		return refuse(http.StatusConflict, "the machine is about to %s", p.Ending)
	case p.Trial != nil && p.Trial.Kind == "config" && p.Trial.Result == "":
		return refuse(http.StatusConflict, "a new configuration is on trial, at most %v more; if it fails, the old one comes back by itself", p.Trial.Left.Round(time.Second))
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rollbackLimit))
	answer, err := s.Slots.Rollback(r.Context(), by.name)
	if err != nil {
		return err
	}
	if answer.To != answer.From {
		if err := s.Control.Reboot(context.WithoutCancel(r.Context()), by.name+", to roll back"); err != nil {
			return unavailable(err)
		}
		answer.Reboot = true
	}
	s.Log.Info("rollback", "by", by.name, "from", answer.From, "to", answer.To, "reason", answer.Reason)
	writeJSON(w, http.StatusAccepted, answer)
	return nil
}

// rollbackLimit is how long a slow board's slow card may take to read a whole root.
const rollbackLimit = 10 * time.Minute
