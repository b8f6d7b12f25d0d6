package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ErrNotRunning means that no QEMU answers in the machine's folder.
var ErrNotRunning = errors.New("the machine is not running")

// qmp is one connection to QEMU's control socket. QEMU serves one at a time, so each is
// short: another process may want to stop the machine.
// Source: QEMU docs/interop/qmp-spec.
type qmp struct {
	conn *net.UnixConn
	dec  *json.Decoder
	pid  int // QEMU's
}

// qmpReply is a greeting, an answer or an event.
type qmpReply struct {
	Greeting *json.RawMessage `json:"QMP"`
	Return   *json.RawMessage `json:"return"`
	Event    string           `json:"event"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// dialQMP connects and leaves negotiation mode. No socket, or nobody behind it, is
// ErrNotRunning.
func dialQMP(ctx context.Context, dir string) (_ *qmp, err error) {
	folder, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	address, err := socketAddress(folder)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", address)
	if nobodyListens(err) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	q := &qmp{conn: c.(*net.UnixConn), dec: json.NewDecoder(c)}
	if q.pid, err = peerPID(q.conn); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	stop := q.bind(ctx)
	defer stop()
	var r qmpReply
	if err := q.dec.Decode(&r); err != nil || r.Greeting == nil {
		return nil, errors.Join(fmt.Errorf("%s: read QEMU's greeting: %w", filepath.Join(dir, socketName), errors.Join(err, ctx.Err())), c.Close())
	}
	if err := q.do(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return q, nil
}

// bind makes reads and writes end with the context. The function it returns undoes that.
func (q *qmp) bind(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { _ = q.conn.SetDeadline(time.Unix(1, 0)) })
}

// do runs one command; events that arrive meanwhile are dropped.
func (q *qmp) do(ctx context.Context, command string, arguments, result any) error {
	stop := q.bind(ctx)
	defer stop()
	msg := map[string]any{"execute": command}
	if arguments != nil {
		msg["arguments"] = arguments
	}
	data, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	if _, err := q.conn.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("qmp %s: %w", command, errors.Join(err, ctx.Err()))
	}
	for {
		var r qmpReply
		if err := q.dec.Decode(&r); err != nil {
			return fmt.Errorf("qmp %s: %w", command, errors.Join(err, ctx.Err()))
		}
		switch {
		case r.Error != nil:
			return fmt.Errorf("qmp %s: %s: %s", command, r.Error.Class, r.Error.Desc)
		case r.Return != nil:
			if result == nil {
				return nil
			}
			return json.Unmarshal(*r.Return, result)
		}
	}
}

// gone waits until QEMU closes the connection: it has exited.
func (q *qmp) gone(ctx context.Context) error {
	stop := q.bind(ctx)
	defer stop()
	for {
		var r qmpReply
		if err := q.dec.Decode(&r); err != nil {
			return ctx.Err()
		}
	}
}
