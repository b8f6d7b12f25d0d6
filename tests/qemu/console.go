package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// pollConsole is how often the serial log is looked at. QEMU writes it as a plain file, so
// that nothing is lost while nobody reads, and inotify would add a dependency for nothing.
const pollConsole = 50 * time.Millisecond

// Line is one line of the serial console, without escape sequences.
type Line struct {
	Text string
	At   time.Time // when it was read, at most pollConsole late
}

// Console collects what a machine says, over all its boots. Safe for concurrent use.
type Console struct {
	path string

	mu      sync.Mutex
	lines   []Line
	partial []byte
	offset  int64         // of the next byte in the file
	changed chan struct{} // closed and replaced when something was added or the machine ended
	alive   bool
}

// ErrExited means that the machine ended while something was awaited of it.
var ErrExited = errors.New("the machine has exited")

// ansi matches terminal escape sequences, with which the firmware and the boot loader draw, and before them the status
// that a node draws between saving the cursor and restoring it (init/screen).
var ansi = regexp.MustCompile("\x1b7[^\n]*?\x1b8|\x1b(?:\\[[0-9;?=]*[ -/]*[@-~]|[@-Z\\\\-_]|[()][A-Z0-9])")

func newConsole(path string) *Console {
	c := &Console{path: path, changed: make(chan struct{})}
	if st, err := os.Stat(path); err == nil {
		c.offset = st.Size() // earlier runs are not ours
	}
	return c
}

// follow reads the log until done is closed and all of it has been read.
func (c *Console) follow(done <-chan struct{}) error {
	c.setAlive(true)
	defer c.setAlive(false)
	tick := time.NewTicker(pollConsole)
	defer tick.Stop()
	for ended := false; ; {
		if err := c.read(); err != nil {
			return err
		}
		if ended {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			ended = true
		}
	}
}

func (c *Console) setAlive(alive bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = alive
	close(c.changed)
	c.changed = make(chan struct{})
}

// read takes in what the file has more than before.
func (c *Console) read() (err error) {
	f, err := os.Open(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.NewSectionReader(f, c.offset, 1<<40))
	if err != nil || len(data) == 0 {
		return err
	}
	c.add(data, time.Now())
	return nil
}

func (c *Console) add(data []byte, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += int64(len(data))
	data = append(c.partial, data...)
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			break
		}
		data = rest
		text := strings.TrimRight(ansi.ReplaceAllString(string(line), ""), "\r ")
		// A carriage return begins the line anew.
		if k := strings.LastIndexByte(text, '\r'); k >= 0 {
			text = text[k+1:]
		}
		c.lines = append(c.lines, Line{Text: text, At: at})
	}
	c.partial = bytes.Clone(data)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Len is the number of lines so far: a mark for Wait and Since.
func (c *Console) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// Since returns the lines from a mark on.
func (c *Console) Since(mark int) []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.lines[min(mark, len(c.lines)):]...)
}

// Wait returns the first line from a mark on that match accepts, and the mark behind it.
// what names it for the error, which has the console's last lines: ctx's error when the
// time is over, ErrExited when the machine ends first.
func (c *Console) Wait(ctx context.Context, mark int, what string, match func(string) bool) (Line, int, error) {
	for k := mark; ; {
		c.mu.Lock()
		for ; k < len(c.lines); k++ {
			if l := c.lines[k]; match(l.Text) {
				c.mu.Unlock()
				return l, k + 1, nil
			}
		}
		changed, alive := c.changed, c.alive
		c.mu.Unlock()
		if !alive {
			return Line{}, k, c.failure(what, ErrExited)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, k, c.failure(what, context.Cause(ctx))
		}
	}
}

// Next returns the line at a mark, waiting for it; ok is false when the machine has ended
// or ctx is done.
func (c *Console) Next(ctx context.Context, mark int) (l Line, ok bool) {
	l, _, err := c.Wait(ctx, mark, "", func(string) bool { return true })
	return l, err == nil
}

func (c *Console) failure(what string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last []string
	for k := len(c.lines) - 1; k >= 0 && len(last) < 25; k-- {
		if t := strings.TrimSpace(c.lines[k].Text); t != "" {
			last = append([]string{"  " + t}, last...)
		}
	}
	if p := strings.TrimSpace(ansi.ReplaceAllString(string(c.partial), "")); p != "" {
		last = append(last, "  "+p)
	}
	return fmt.Errorf("wait for %s: %w; the console's last lines (all of them: %s):\n%s", what, err, c.path, strings.Join(last, "\n"))
}
