package slots

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/apply"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
	"github.com/keelson-os/keelson/upgrade/record"
	"github.com/keelson-os/keelson/upgrade/snapshot"
)

// source is a bundle: package apply's, spelled out so that package api needs not import that.
type source = interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Open opens the bundle at a URL: https:// or http:// (what it holds is signed), or file:// below the state partition's folder.
func (s *Slots) Open(ctx context.Context, text string) (source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, refused(http.StatusBadRequest, errors.New("url: it cannot be read as one"), "")
	}
	switch u.Scheme {
	case "http", "https":
		src, err := apply.OpenURL(ctx, text, nil)
		if err != nil {
			return nil, fromServer(err)
		}
		return src, nil
	case "file":
		if u.Host != "" || path.Clean(u.Path) != u.Path || !strings.HasPrefix(u.Path, s.Bundles+"/") {
			return nil, refused(http.StatusBadRequest, fmt.Errorf("url: %q is no file below %s", u.Path, s.Bundles), "")
		}
		src, err := apply.OpenFile(u.Path)
		if err != nil {
			return nil, refused(http.StatusUnprocessableEntity, err, "")
		}
		return src, nil
	}
	return nil, refused(http.StatusBadRequest, fmt.Errorf("url: %q: want https://…, http://… or file://%s/…", u.Scheme, s.Bundles), "")
}

// Upgrade writes the bundle in src to the slot that does not run, reads it back and, without q.Stage, arms it. ctx ends it until it
// is armed; the same bundle again goes on where it stopped. A bundle with the system that runs is done: Armed is false then.
func (s *Slots) Upgrade(ctx context.Context, src source, q machine.UpgradeRequest, _ string, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
	unlock, err := s.begin()
	if err != nil {
		return machine.UpgradeResult{}, err
	}
	defer unlock()
	d, err := s.open()
	if err != nil {
		return machine.UpgradeResult{}, err
	}
	defer d.Close()
	rec, err := s.load()
	if err != nil {
		return machine.UpgradeResult{}, err
	}
	system, err := s.target(d, rec)
	if err != nil {
		return machine.UpgradeResult{}, err
	}
	// The datastore is copied before the first boot of the new system: better to hear now that there is no room than after the reboot.
	if err := s.Snapshots.Room(); err != nil {
		return machine.UpgradeResult{}, refused(http.StatusUnprocessableEntity, fmt.Errorf("no room on the state partition for a snapshot of the datastore: %w", err),
			"remove what is not needed there: images, volumes, logs")
	}
	started := s.Now()
	from := &watched{source: src}
	result, err := apply.Run(ctx, from, system, apply.Options{SHA256: strings.ToLower(q.SHA256), Progress: func(p apply.Progress) {
		progress(machine.UpgradeProgress{Phase: string(p.Phase), Done: p.Done, Total: p.Total, Fetched: p.Fetched, Written: p.Written})
	}})
	// Run calls an armed upgrade off before it writes.
	if rec.Attempt.Open() {
		if cerr := s.calledOff(d, rec); cerr != nil {
			return machine.UpgradeResult{}, errors.Join(err, cerr)
		}
	}
	if errors.Is(err, apply.ErrSame) {
		return machine.UpgradeResult{From: shown(s.own()), To: shown(s.own())}, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return machine.UpgradeResult{}, fmt.Errorf("the upgrade was ended: %w", context.Cause(ctx))
		}
		if from.err != nil && errors.Is(err, from.err) {
			return machine.UpgradeResult{}, fromServer(err)
		}
		return machine.UpgradeResult{}, explain(err)
	}
	m := result.Manifest
	to := record.System{Slot: string(result.Slot), Version: m.Version, RootHash: strings.ToLower(m.RootHash), Serial: m.Serial, MinimumSerial: m.MinimumSerial}
	answer := machine.UpgradeResult{
		From: shown(s.own()), To: shown(to), Total: result.BytesTotal, Fetched: result.BytesFetched, Reused: result.BytesReused,
		Written: result.BytesWritten, Duration: machine.SecondsOf(result.Duration),
	}
	if q.Stage {
		return answer, nil
	}
	progress(machine.UpgradeProgress{Phase: "arm"})
	if err := s.armed(rec, to, started, func() error { return apply.Arm(system, result) }); err != nil {
		return machine.UpgradeResult{}, explain(err)
	}
	answer.Armed = true
	return answer, nil
}

// begin makes sure that nobody else changes the slots.
func (s *Slots) begin() (end func(), err error) {
	if !s.busy.CompareAndSwap(false, true) {
		return nil, explain(apply.ErrBusy)
	}
	unlock, err := apply.Lock(s.Lock)
	if err != nil {
		s.busy.Store(false)
		return nil, explain(err)
	}
	return func() {
		unlock() // the lock ends with the process at the latest
		s.busy.Store(false)
	}, nil
}

// target is this machine as package apply wants it.
func (s *Slots) target(d bootcontrol.Disk, rec *record.Record) (apply.System, error) {
	system := apply.System{
		Disk: d, Booted: s.Booted, Board: s.System.Board, Kubernetes: s.System.Kubernetes,
		MinimumSerial: max(s.System.MinimumSerial, rec.MinimumSerial),
	}
	for i, text := range s.System.Keys {
		key, err := bundle.ParsePublicKey(text)
		if err != nil {
			return system, fmt.Errorf("key %d of the kernel command line: %w", i+1, err)
		}
		system.Keys = append(system.Keys, key)
	}
	return system, nil
}

// calledOff ends the attempt in the record if its trial is not armed any more.
func (s *Slots) calledOff(d bootcontrol.Disk, rec *record.Record) error {
	node, err := s.node(d)
	if err != nil {
		return err
	}
	state, err := node.State()
	if err != nil || state.Trial != "" {
		return err
	}
	return s.cancel(rec, "another upgrade was begun")
}

// watched remembers that the source failed.
type watched struct {
	source
	err error
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.source.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// fromServer is an error of where the bundle comes from.
func fromServer(err error) error {
	err = explain(err)
	if errors.As(err, new(*machine.Error)) {
		return err
	}
	return refused(http.StatusBadGateway, err, "the same command goes on where it stopped")
}

// refused is an error that is not the node's fault.
func refused(status int, err error, do string) error {
	return &machine.Error{Status: status, Message: err.Error(), Do: do}
}

// explain gives an error of the packages below its status: what is the bundle's or its server's fault is no failure of the node.
func explain(err error) error {
	if errors.As(err, new(*machine.Error)) {
		return err
	}
	for _, x := range []struct {
		status int
		is     []error
		do     string
	}{
		{http.StatusConflict, []error{apply.ErrBusy}, ""},
		{http.StatusConflict, []error{apply.ErrTrial}, "wait until the trial is over, or go back: keelson rollback"},
		{http.StatusUnprocessableEntity, []error{apply.ErrNoKeys, apply.ErrBoard, apply.ErrSerial, apply.ErrTooLarge, apply.ErrFiles, apply.ErrSkew}, ""},
		{http.StatusUnprocessableEntity, []error{bundle.ErrSignature, bundle.ErrUntrusted}, "take a bundle that is signed with a key that this image trusts (keelson bundle verify)"},
		{http.StatusUnprocessableEntity, []error{bundle.ErrFormat, bundle.ErrTruncated, bundle.ErrContent, apply.ErrChecksum, apply.ErrChanged, io.ErrUnexpectedEOF}, "fetch or build the bundle again"},
		{http.StatusUnprocessableEntity, []error{apply.ErrNoRanges}, "take another server, or push the file: keelson upgrade FILE"},
		{http.StatusInsufficientStorage, []error{snapshot.ErrRoom}, ""},
		{http.StatusInternalServerError, []error{apply.ErrReadBack}, "the disk is failing: replace it"},
	} {
		for _, target := range x.is {
			if errors.Is(err, target) {
				return refused(x.status, err, x.do)
			}
		}
	}
	return err
}
