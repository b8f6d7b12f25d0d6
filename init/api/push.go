package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// pushed is a bundle that the client has: the answer asks for its bytes, the request's body brings them. Only one read is under way at once.
type pushed struct {
	out  *stream
	in   io.Reader
	rc   *http.ResponseController
	size int64
	// limit is how long the client may take for a MiB or less.
	limit time.Duration
	err   error // of an earlier read: the body is then at a place that nobody knows
}

// Size is what the client said.
func (p *pushed) Size() int64 { return p.size }

// Close leaves the body to the server.
func (p *pushed) Close() error { return nil }

// ReadAt asks for len(b) bytes at off.
func (p *pushed) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("pushed bundle: offset %d", off)
	}
	if off >= p.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > p.size-off
	if short {
		b = b[:p.size-off]
	}
	for n < len(b) {
		m := min(len(b)-n, 1<<20)
		if p.err == nil {
			p.err = p.read(b[n:n+m], off+int64(n))
		}
		if p.err != nil {
			return n, p.err
		}
		n += m
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

func (p *pushed) read(b []byte, off int64) error {
	if err := p.out.line(machine.UpgradeMessage{Read: &machine.Range{Offset: off, Length: int64(len(b))}}); err != nil {
		return fmt.Errorf("pushed bundle: ask for byte %d: %w", off, err)
	}
	p.rc.SetReadDeadline(time.Now().Add(p.limit))
	_, err := io.ReadFull(p.in, b)
	p.rc.SetReadDeadline(time.Time{}) // one that passes between two reads would end the body
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "pushed bundle: byte %d and %d more did not come within %v", off, len(b)-1, p.limit)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("pushed bundle: byte %d: %w", off, err)
	}
	return nil
}
