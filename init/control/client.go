package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// answerMax bounds a line of an answer, in bytes.
const answerMax = 4 << 20

// Client asks PID 1. Safe for several goroutines.
type Client struct {
	Path string // of the socket; empty: Path
}

// Status returns what PID 1 knows.
func (c Client) Status(ctx context.Context) (Status, error) {
	a, err := c.do(ctx, Request{Op: OpStatus})
	if err != nil {
		return Status{}, err
	}
	if a.Status == nil {
		return Status{}, errors.New("PID 1 answered without its status")
	}
	return *a.Status, nil
}

// Trial returns the trial of this boot, nil without one.
func (c Client) Trial(ctx context.Context) (*Trial, error) {
	a, err := c.do(ctx, Request{Op: OpTrial})
	return a.Trial, err
}

// Restart begins the restart of a service.
func (c Client) Restart(ctx context.Context, service, by string) error {
	_, err := c.do(ctx, Request{Op: OpRestart, Service: service, By: by})
	return err
}

// Renew lets the node process make the certificates that are missing.
func (c Client) Renew(ctx context.Context, by string) error {
	_, err := c.do(ctx, Request{Op: OpRenew, By: by})
	return err
}

// Reboot begins a reboot.
func (c Client) Reboot(ctx context.Context, by string) error {
	_, err := c.do(ctx, Request{Op: OpReboot, By: by})
	return err
}

// PowerOff begins to power the machine off.
func (c Client) PowerOff(ctx context.Context, by string) error {
	_, err := c.do(ctx, Request{Op: OpPowerOff, By: by})
	return err
}

// Reset begins to wipe what, ResetState or ResetAll.
func (c Client) Reset(ctx context.Context, what, by string) error {
	_, err := c.do(ctx, Request{Op: OpReset, What: what, By: by})
	return err
}

// Events calls f with each event after the one with the id after, with follow also with those to come, until f returns
// an error, which it returns, ctx is done or PID 1 ends. IDs without gaps: none was lost.
func (c Client) Events(ctx context.Context, after uint64, follow bool, f func(Event) error) error {
	conn, end, err := c.ask(ctx, Request{Op: OpEvents, After: after, Follow: follow})
	if err != nil {
		return err
	}
	defer end()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, answerMax)
	for lines.Scan() {
		var e struct {
			Event
			Error string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("events of PID 1: %w", err)
		}
		if e.Error != "" {
			return errors.New(e.Error)
		}
		if err := f(e.Event); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return lines.Err()
}

func (c Client) do(ctx context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit+answerLimit)
	defer cancel()
	var a Answer
	conn, end, err := c.ask(ctx, r)
	if err != nil {
		return a, err
	}
	defer end()
	// Not into a: what was read of an answer that is cut short is no answer.
	var got Answer
	if err := json.NewDecoder(io.LimitReader(conn, answerMax)).Decode(&got); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return a, fmt.Errorf("answer of PID 1 to %s: %w", r.Op, err)
	}
	if got.Error != "" {
		return a, errors.New(got.Error)
	}
	return got, nil
}

// ask sends a request; end closes the connection.
func (c Client) ask(ctx context.Context, r Request) (conn net.Conn, end func(), err error) {
	path := c.Path
	if path == "" {
		path = Path
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, nil, fmt.Errorf("PID 1 does not listen: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	// An error in sending is told by the answer: PID 1 says that it is busy before it has read anything.
	send(conn, r)
	return conn, func() {
		stop()
		conn.Close()
	}, nil
}
