package screen

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Facts are what the status shows. Empty ones are left out.
type Facts struct {
	Name      string   // host name
	Addresses []string // "192.168.1.20/24", in the order of the links
	Version   string
	Slot      string // "a", "b (trial)"
	Health    string // "ready", or what is awaited or wrong
	Load      string // of the last minute, and memory in use
	Uptime    time.Duration
}

// Terminals are the consoles that are drawn on.
type Terminals interface {
	// Draw sends what f returns for a terminal of that many rows and columns to each terminal.
	Draw(f func(rows, cols int) []byte)
}

const (
	// look is the time between two looks at the facts, redraw the longest time between two drawings.
	look   = 5 * time.Second
	redraw = time.Minute
	// minRows is the smallest terminal that is drawn on: the status and as many rows of log.
	minRows = 2 * statusRows
	// statusRows are the rows of the status with the rule below it.
	statusRows = 6
	labelWidth = 11
)

// Run draws until ctx ends, and then gives the terminals back to the log alone.
func Run(ctx context.Context, t Terminals, facts func() Facts) {
	t.Draw(begin)
	defer t.Draw(end)
	tick := time.NewTicker(look)
	defer tick.Stop()
	var shown Facts
	var at time.Time
	for {
		if f := facts(); at.IsZero() || !same(f, shown) || time.Since(at) >= redraw {
			shown, at = f, time.Now()
			t.Draw(func(rows, cols int) []byte { return draw(f, rows, cols) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// same leaves out what changes all the time.
func same(a, b Facts) bool {
	return a.Name == b.Name && a.Version == b.Version && a.Slot == b.Slot && a.Health == b.Health && slices.Equal(a.Addresses, b.Addresses)
}

// begin keeps a terminal's upper rows for the status. A screen that is full moves up as far, so that the last messages of the boot stay,
// which may say why there is no node. The cursor stays behind them, without a blinking mark.
func begin(rows, _ int) []byte {
	if rows < minRows {
		return nil
	}
	// The first ESC 7 is for those who take out everything up to ESC 8.
	return fmt.Appendf(nil, "%s\x1b7\x1b[%dA\x1b7\x1b[%d;%dr\x1b[?25l\x1b8", strings.Repeat("\n", statusRows), statusRows, statusRows+1, rows)
}

// end makes all rows scroll again.
func end(rows, _ int) []byte {
	if rows < minRows {
		return nil
	}
	return fmt.Appendf(nil, "\x1b7\x1b[r\x1b[?25h\x1b8\x1b[%d;1H", rows)
}

func draw(f Facts, rows, cols int) []byte {
	if rows < minRows {
		return nil
	}
	var b strings.Builder
	b.WriteString("\x1b7")
	for i, line := range lines(f) {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[2K%s", i+1, cut(line, cols))
	}
	b.WriteString("\x1b8")
	return []byte(b.String())
}

// lines are the rows of the status.
func lines(f Facts) []string {
	field := func(label, value string) string {
		if value == "" {
			value = "-"
		}
		return fmt.Sprintf(" %-*s%s", labelWidth, label, value)
	}
	version := strings.TrimSpace(f.Version + "  slot " + f.Slot)
	return []string{
		field("node", f.Name),
		field("addresses", strings.Join(f.Addresses, "  ")),
		field("version", version),
		field("health", f.Health),
		field("load", fmt.Sprintf("%s  up %s", f.Load, uptime(f.Uptime))),
		strings.Repeat("-", 78),
	}
}

// uptime is "3d 4h", "4h 5m" or "5m".
func uptime(d time.Duration) string {
	m := int(d.Minutes())
	switch {
	case m >= 24*60:
		return fmt.Sprintf("%dd %dh", m/(24*60), m/60%24)
	case m >= 60:
		return fmt.Sprintf("%dh %dm", m/60, m%60)
	}
	return fmt.Sprintf("%dm", m)
}

// cut makes a line fit and keeps bytes that would move the cursor out of it.
func cut(s string, cols int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	if n := utf8.RuneCountInString(s); n > cols && cols > 1 {
		s = string([]rune(s)[:cols-1]) + ">"
	}
	return s
}
