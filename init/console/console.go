// Package console writes PID 1's lines to every console the kernel uses and to one log.
//
// A console may block (a serial line with flow control, a stuck terminal), and so may the
// disk below the log, so each one has its own goroutine and a bounded queue: PID 1 never
// waits for a terminal or a disk, it drops lines instead and says how many.
package console

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Prefix starts every line of PID 1 on a console.
const Prefix = "keelson: "

// queueLen is how many messages may wait for one console before further ones are dropped.
const queueLen = 256

// Console is a set of terminals and an optional log. Its methods may be called from any
// goroutine; a nil *Console drops everything.
type Console struct {
	mu    sync.Mutex
	outs  []*output
	log   *output // nil: none
	early []byte  // lines before SetLog, bounded by earlyMax
}

// earlyMax bounds, in bytes, what is kept for the log until there is one.
const earlyMax = 64 << 10

type output struct {
	w       io.Writer
	queue   chan []byte
	pending sync.WaitGroup
	mu      sync.Mutex
	dropped int
}

// Open opens the terminals named in /sys/class/tty/console/active; /sys and /dev must be
// mounted. When none can be opened it falls back to standard output, which the kernel
// connects to /dev/console.
func Open() *Console {
	ws := terminals("/sys", "/dev")
	if len(ws) == 0 {
		ws = append(ws, os.Stdout)
	}
	return New(ws...)
}

// terminals opens what the kernel writes its own messages to, by console= or by itself.
func terminals(sys, dev string) []io.Writer {
	var ws []io.Writer
	active, _ := os.ReadFile(filepath.Join(sys, "class/tty/console/active"))
	for _, name := range strings.Fields(string(active)) {
		f, err := os.OpenFile(filepath.Join(dev, name), os.O_WRONLY|noctty, 0)
		if err == nil {
			noEcho(f)
			ws = append(ws, f)
		}
	}
	return ws
}

// New returns a console that writes to ws.
func New(ws ...io.Writer) *Console {
	c := &Console{}
	for _, w := range ws {
		c.outs = append(c.outs, newOutput(w))
	}
	return c
}

// logLimit is how long a log that is stopped may take to write what is queued for it.
const logLimit = 2 * time.Second

// SetLog sends a copy of each line, with the time before it, to w from now on, after the
// lines written so far. nil stops it, and waits a moment until w has what was written.
func (c *Console) SetLog(w io.Writer) {
	c.mu.Lock()
	old := c.log
	c.log = nil
	if w != nil {
		c.log = newOutput(w)
		if len(c.early) > 0 {
			c.log.send(c.early)
		}
		c.early = nil
	}
	c.mu.Unlock()
	if old != nil {
		close(old.queue)
		wait(logLimit, old)
	}
}

func newOutput(w io.Writer) *output {
	o := &output{w: w, queue: make(chan []byte, queueLen)}
	go o.run()
	return o
}

// Printf formats a message and writes it; each of its lines gets the prefix.
func (c *Console) Printf(format string, args ...any) {
	if c == nil {
		return
	}
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	var term, log strings.Builder
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z ")
	for line := range strings.SplitSeq(text, "\n") {
		term.WriteString(Prefix)
		term.WriteString(printable(line))
		term.WriteByte('\n')
		log.WriteString(stamp)
		log.WriteString(line)
		log.WriteByte('\n')
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		c.log.send([]byte(log.String()))
	} else if len(c.early)+log.Len() <= earlyMax {
		c.early = append(c.early, log.String()...)
	}
	for _, o := range c.outs {
		o.send([]byte(term.String()))
	}
}

// Write lets a Console be the target of a log.Logger: p is one message.
func (c *Console) Write(p []byte) (int, error) {
	c.Printf("%s", p)
	return len(p), nil
}

// Logf writes a message to the log only, not to the terminals.
func (c *Console) Logf(format string, args ...any) {
	if c == nil {
		return
	}
	line := time.Now().UTC().Format("2006-01-02T15:04:05.000Z ") + strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n"
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log != nil {
		c.log.send([]byte(line))
	} else if len(c.early)+len(line) <= earlyMax {
		c.early = append(c.early, line...)
	}
}

// Draw sends what f returns for a terminal of that many rows and columns to each terminal, as it is; nothing for none. It is not logged.
func (c *Console) Draw(f func(rows, cols int) []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.outs {
		if p := f(size(o.w)); len(p) > 0 {
			o.send(p)
		}
	}
}

// Flush waits until every terminal has taken what was written, at most limit.
func (c *Console) Flush(limit time.Duration) {
	if c == nil {
		return
	}
	wait(limit, c.outs...)
}

// wait waits until outs have written what was queued for them, at most limit.
func wait(limit time.Duration, outs ...*output) {
	done := make(chan struct{})
	go func() {
		for _, o := range outs {
			o.pending.Wait()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

func (o *output) send(p []byte) {
	o.pending.Add(1)
	select {
	case o.queue <- p:
	default:
		o.pending.Done()
		o.mu.Lock()
		o.dropped++
		o.mu.Unlock()
	}
}

func (o *output) run() {
	for p := range o.queue {
		o.mu.Lock()
		dropped := o.dropped
		o.dropped = 0
		o.mu.Unlock()
		if dropped > 0 {
			fmt.Fprintf(o.w, "%s%d messages dropped: this console was too slow\n", Prefix, dropped)
		}
		o.w.Write(p)
		o.pending.Done()
	}
}

// printable replaces control bytes, so that text of others cannot move the cursor or
// clear the screen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '?'
	}, s)
}
