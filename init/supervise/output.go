package supervise

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-os/keelson/init/console"
)

// lineMax is, in bytes, where a line of output is cut into pieces for the log.
const lineMax = 16 << 10

// tailLines is how many lines of output are remembered, to be shown when the service dies.
const tailLines = 5

type severity int

const (
	routine severity = iota
	warning          // worth a look: a few go to the console
	fatal            // the service is about to end
)

// classify finds the severity of a line of klog, logrus, slog or the Go runtime.
//
// Warnings of klog (W) and of containerd's logrus (level=warning) are routine: upstream
// gives a dozen at every start that nobody can act on. Ours are slog's, in capitals.
func classify(line string) severity {
	switch {
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "),
		strings.HasPrefix(line, "unexpected fault address"), strings.HasPrefix(line, "SIG"),
		isKlog(line, 'F'), hasLevel(line, "fatal"), hasLevel(line, "panic"):
		return fatal
	case isKlog(line, 'E'), hasLevel(line, "error"), strings.Contains(line[:min(len(line), 200)], "level=WARN "):
		return warning
	}
	return routine
}

// isKlog reports whether a line begins as klog's do: a letter, then month and day.
func isKlog(line string, letter byte) bool {
	if len(line) < 6 || line[0] != letter || line[5] != ' ' {
		return false
	}
	for _, c := range []byte(line[1:5]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// hasLevel finds level=NAME or "level":"NAME" in any case, near the start of a line.
func hasLevel(line, name string) bool {
	head := strings.ToLower(line[:min(len(line), 200)])
	return strings.Contains(head, "level="+name) || strings.Contains(head, `"level":"`+name)
}

// sink takes a service's output line by line.
type sink struct {
	name    string
	log     io.Writer
	con     *console.Console
	limit   console.Limit // warnings on the console
	fatals  console.Limit
	mu      sync.Mutex
	tail    []string
	logPath string
	quiet   atomic.Bool // the service is being stopped: only the end of it matters
}

func newSink(name string, log io.Writer, logPath string, con *console.Console) *sink {
	return &sink{
		name: name, log: log, logPath: logPath, con: con,
		limit:  console.Limit{Burst: 3, Every: time.Minute},
		fatals: console.Limit{Burst: 10, Every: 10 * time.Second},
	}
}

// read takes lines from r until it ends.
func (s *sink) read(r io.Reader) {
	b := bufio.NewReaderSize(r, lineMax)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			s.line(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (s *sink) line(line []byte) {
	s.log.Write(line)
	if line[len(line)-1] != '\n' {
		s.log.Write([]byte("\n"))
	}
	text := string(bytes.TrimRight(line, "\r\n"))
	if text == "" {
		return
	}
	s.mu.Lock()
	s.tail = append(s.tail[max(0, len(s.tail)-tailLines+1):], cut(text))
	s.mu.Unlock()
	var limit *console.Limit
	switch classify(text) {
	case routine:
		return
	case warning:
		if s.quiet.Load() {
			return
		}
		limit = &s.limit
	case fatal:
		limit = &s.fatals
	}
	held, ok := limit.Allow()
	if !ok {
		return
	}
	if held > 0 {
		s.con.Printf("%s: (%d more such lines in %s)", s.name, held, s.logPath)
	}
	s.con.Printf("%s: %s", s.name, cut(text))
}

// last returns and forgets the last lines.
func (s *sink) last() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tail
	s.tail = nil
	return t
}

// cut shortens a line to what a console of two lines of 80 columns shows.
func cut(s string) string {
	const limit = 140
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
