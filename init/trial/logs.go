package trial

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
)

const (
	// tailSize is how much of a log's end is looked at, in bytes.
	tailSize = 32 << 10
	// nodeLines and initLines are how many last lines of a failed boot are kept.
	nodeLines = 15
	initLines = 15
)

// BootLine begins, without the time before it, the first line that PID 1 writes in a boot; it ends with the slot.
// Tail finds the boots in the log by it.
const BootLine = "Keelson "

// lastLines returns the last n lines of the file at path that keep, if not nil, is true for; none if it cannot be read.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	from := max(0, size-tailSize)
	b := make([]byte, size-from)
	m, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	b = b[:m]
	if from > 0 { // the first line is cut
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	text := strings.TrimRight(strings.ToValidUTF8(string(b), "?"), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}

// Logs are the ends of the logs that a boot left.
type Logs struct {
	Init string // path of PID 1's
	Node string // and the node process's
}

// Tail returns the last lines of both logs if the last boot in PID 1's was one of slot; "" is any slot. A boot that did
// not get as far as writing a log has none.
func (l Logs) Tail(slot string) []string {
	init := lastLines(l.Init, 1<<16)
	first := -1
	for i, line := range init {
		if _, text, _ := strings.Cut(line, " "); strings.HasPrefix(text, BootLine) {
			first = i
		}
	}
	if slot != "" && (first < 0 || !strings.HasSuffix(init[first], "slot "+slot)) {
		return nil
	}
	init = init[max(first, 0, len(init)-initLines):]
	tail := prefixed("node: ", lastLines(l.Node, nodeLines))
	return append(tail, prefixed("init: ", init)...)
}

func prefixed(prefix string, lines []string) []string {
	var out []string
	for _, line := range lines {
		out = append(out, prefix+line)
	}
	return out
}
