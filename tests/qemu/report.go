package qemu

import (
	"context"
	"strconv"
	"strings"
)

// prefix begins every line that PID 1 writes to the console.
const prefix = "keelson: "

// Message returns what PID 1 said in a console line; ok is false for other lines.
func Message(line string) (text string, ok bool) {
	// A kernel message may stand before it in the same line.
	k := strings.Index(line, prefix)
	if k < 0 || (k > 0 && !strings.HasPrefix(strings.TrimSpace(line), "[")) {
		return "", false
	}
	return line[k+len(prefix):], true
}

// Boot is the end of a boot, as PID 1 reports it.
type Boot struct {
	Table []string // the rows of the boot table: step, duration, ok or the error
	Ready string   // "node ready after 41.2 s"; empty when the node did not get ready
	Took  float64  // seconds, from Ready
}

// WaitBoot waits from a mark on until PID 1 has printed the boot table and whether the
// node is ready, and returns the mark behind it.
func (c *Console) WaitBoot(ctx context.Context, mark int) (Boot, int, error) {
	said := func(want string) func(string) bool {
		return func(line string) bool {
			text, ok := Message(line)
			return ok && strings.HasPrefix(text, want)
		}
	}
	_, first, err := c.Wait(ctx, mark, "the boot table", said("boot table"))
	if err != nil {
		return Boot{}, mark, err
	}
	_, last, err := c.Wait(ctx, first, "the end of the boot table", said("end of boot table"))
	if err != nil {
		return Boot{}, mark, err
	}
	var b Boot
	for _, l := range c.Since(first)[:last-1-first] {
		if text, ok := Message(l.Text); ok {
			b.Table = append(b.Table, strings.TrimSpace(text))
		}
	}
	l, end, err := c.Wait(ctx, last, "whether the node is ready", said("node "))
	if err != nil {
		return b, mark, err
	}
	text, _ := Message(l.Text)
	if took, ok := readyAfter(text); ok {
		b.Ready, b.Took = text, took
	}
	return b, end, nil
}

// readyAfter reads the seconds out of "node ready after 41.2 s".
func readyAfter(text string) (seconds float64, ok bool) {
	rest, ok := strings.CutPrefix(text, "node ready after ")
	if !ok {
		return 0, false
	}
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(number, "s"), 64)
	return seconds, err == nil
}
