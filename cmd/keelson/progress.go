package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/keelson-os/keelson/flash"
)

// progress shows long work: on a terminal one line that is drawn again and again, with
// bytes, rate and time left; elsewhere one plain line per step, and one more every ten
// seconds in a step.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal func() int // width in columns; nil: not a terminal
	name     string     // of the current step; empty: none
	total    int64
	done     int64
	began    time.Time
	plain    time.Time // when the next plain line is due
	stop     chan struct{}
	stopped  chan struct{}
}

var _ flash.Progress = (*progress)(nil)

const (
	redrawEvery = 200 * time.Millisecond
	plainEvery  = 10 * time.Second
)

// newProgress shows progress on w. Call end when the work is done.
func newProgress(w io.Writer) *progress {
	p := &progress{w: w, stop: make(chan struct{}), stopped: make(chan struct{})}
	if f, ok := terminal(w); ok {
		p.terminal = func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
				return width
			}
			return 80
		}
	}
	go p.redraw()
	return p
}

// terminal returns the file behind a stream, if that is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// silent is the progress of work that shows none.
type silent struct{}

func (silent) Step(string, int64) {}
func (silent) Done(int64)         {}

// redraw keeps the times moving while the work says nothing.
func (p *progress) redraw() {
	defer close(p.stopped)
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *progress) Step(name string, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(true)
	p.name, p.total, p.done = name, total, 0
	p.began = time.Now()
	p.plain = p.began.Add(plainEvery)
	if p.terminal == nil {
		fmt.Fprintf(p.w, "%s\n", name)
	}
	p.draw()
}

func (p *progress) Done(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = bytes
}

func (p *progress) Note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, "%s\n", line)
}

// end finishes the last step. It may be called once.
func (p *progress) end(ok bool) {
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(ok)
}

// finish replaces a terminal's moving line by a final one, if the step took long enough to
// be of interest.
func (p *progress) finish(ok bool) {
	if p.name == "" {
		return
	}
	took := time.Since(p.began)
	p.clear()
	if p.terminal != nil && (took >= 100*time.Millisecond || !ok) {
		mark := "done"
		if !ok {
			mark = "failed"
		}
		fmt.Fprintf(p.w, "%s: %s, %.1f s\n", p.name, mark, took.Seconds())
	}
	p.name = ""
}

// clear empties the moving line.
func (p *progress) clear() {
	if p.terminal != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// draw shows the state of the current step.
func (p *progress) draw() {
	if p.name == "" {
		return
	}
	now := time.Now()
	line := p.name + p.numbers(now.Sub(p.began))
	if p.terminal == nil {
		if now.After(p.plain) {
			p.plain = now.Add(plainEvery)
			fmt.Fprintf(p.w, "%s\n", line)
		}
		return
	}
	if r := []rune(line); len(r) >= p.terminal() {
		line = string(r[:max(p.terminal()-1, 0)])
	}
	p.clear()
	fmt.Fprint(p.w, line)
}

// numbers returns bytes, rate and time left, or the time passed where there are no bytes.
func (p *progress) numbers(passed time.Duration) string {
	if p.total <= 0 {
		return fmt.Sprintf("  %d s", int(passed.Seconds()))
	}
	s := fmt.Sprintf("  %d %%  %s of %s", min(100*p.done/p.total, 100), megabytes(p.done), megabytes(p.total))
	seconds := passed.Seconds()
	if p.done == 0 || seconds < 0.5 {
		return s
	}
	rate := float64(p.done) / seconds
	return s + fmt.Sprintf("  %.0f MB/s  %.0f s left", rate/1e6, max(float64(p.total-p.done)/rate, 0))
}

// megabytes returns n bytes for people.
func megabytes(n int64) string {
	if n < 10_000_000 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
