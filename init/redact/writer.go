package redact

import (
	"bytes"
	"io"
	"strings"
)

// lineMax is, in bytes, how much of a line is kept until its end comes; a longer one is looked at in pieces.
const lineMax = 64 << 10

// keyLines is how many lines a private key may have: 8192 bits of RSA take 101. What never ends is none.
const keyLines = 120

// Writer takes secrets out of a text that is written to it in pieces of any size. Close writes the last line if it has no end; it does not close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &writer{redactor: r, w: w} }

type writer struct {
	redactor *Redactor
	w        io.Writer
	buf      []byte // the line that has not ended
	inKey    int    // lines that a private key may still have; 0: not in one
	err      error
}

func (w *writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && w.err == nil {
		take, room := bytes.IndexByte(p, '\n')+1, lineMax-len(w.buf)
		if take == 0 && len(p) < room {
			w.buf = append(w.buf, p...)
			break
		}
		if take == 0 || take > room {
			take = room
		}
		w.buf = append(w.buf, p[:take]...)
		p = p[take:]
		w.line()
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// line writes what is in buf.
func (w *writer) line() {
	s := string(w.buf)
	w.buf = w.buf[:0]
	if w.inKey > 0 {
		w.inKey--
		_, after, ok := strings.Cut(s, "-----END ")
		if !ok {
			return
		}
		w.inKey = 0
		if _, rest, ok := strings.Cut(after, "-----"); ok {
			s = rest
		}
		if strings.TrimSpace(s) == "" {
			return
		}
	}
	// The frame may be behind a log's prefix, or indented.
	if start := strings.LastIndex(s, "-----BEGIN "); start >= 0 && strings.Contains(s[start:], "PRIVATE KEY-----") && !strings.Contains(s[start:], "-----END ") {
		w.inKey = keyLines
		s = s[:start] + Mark + "\n"
	}
	_, w.err = io.WriteString(w.w, w.redactor.Line(s))
}

func (w *writer) Close() error {
	if len(w.buf) > 0 && w.err == nil {
		w.line()
	}
	return w.err
}
