package screen

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// terminal is a VT100 of which only what the package uses works.
type terminal struct {
	rows, cols int
	cells      [][]rune
	writes     int
}

func newTerminal(rows, cols int) *terminal {
	t := &terminal{rows: rows, cols: cols}
	for range rows {
		t.cells = append(t.cells, []rune(strings.Repeat(" ", cols)))
	}
	return t
}

func (t *terminal) Draw(f func(rows, cols int) []byte) {
	text := string(f(t.rows, t.cols))
	if text != "" {
		t.writes++
	}
	row, col := 0, 0
	for len(text) > 0 {
		if text[0] == '\n' { // in the last row: all of it moves up
			t.cells = append(t.cells[1:], []rune(strings.Repeat(" ", t.cols)))
			text = text[1:]
			continue
		}
		if !strings.HasPrefix(text, "\x1b") {
			r := []rune(text)[0]
			if col < t.cols && row < t.rows {
				t.cells[row][col] = r
			}
			col++
			text = text[len(string(r)):]
			continue
		}
		if text[1] != '[' {
			text = text[2:]
			continue
		}
		end := strings.IndexAny(text[2:], "AHJKrhl") + 2
		args, what := text[2:end], text[end]
		text = text[end+1:]
		switch what {
		case 'H':
			row, col = 0, 0
			for _, c := range strings.Split(args, ";")[0] {
				row = row*10 + int(c-'0')
			}
			row--
		case 'K':
			t.cells[row] = []rune(strings.Repeat(" ", t.cols))
		}
	}
}

func (t *terminal) row(i int) string { return strings.TrimRight(string(t.cells[i]), " ") }

func TestTheLastMessagesOfTheBootStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := newTerminal(24, 80)
		for i := range term.rows {
			copy(term.cells[i], []rune(fmt.Sprintf("message %d", i)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		go Run(ctx, term, func() Facts { return Facts{Name: "kitchen"} })
		synctest.Wait()
		for i, want := range map[int]string{0: " node       kitchen", statusRows: fmt.Sprintf("message %d", 2*statusRows), 23 - statusRows: "message 23", 23: ""} {
			if got := term.row(i); got != want {
				t.Errorf("row %d = %q, want %q", i, got, want)
			}
		}
		cancel()
		synctest.Wait()
	})
}

func TestStatusIsDrawnOnChangesAndOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := newTerminal(24, 80)
		f := Facts{Name: "kitchen", Addresses: []string{"192.168.1.20/24"}, Version: "0.1.0", Slot: "a", Health: "ready", Load: "0.10"}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { Run(ctx, term, func() Facts { return f }); close(done) }()
		synctest.Wait()
		for i, want := range []string{" node       kitchen", " addresses  192.168.1.20/24", " version    0.1.0  slot a", " health     ready", " load       0.10  up 0m"} {
			if got := term.row(i); got != want {
				t.Errorf("row %d = %q, want %q", i, got, want)
			}
		}
		drawn := term.writes
		f.Load = "0.90" // not worth a drawing of its own
		time.Sleep(redraw - time.Second)
		synctest.Wait()
		if term.writes != drawn {
			t.Errorf("%d drawings without a change", term.writes-drawn)
		}
		time.Sleep(look)
		synctest.Wait()
		if term.writes != drawn+1 || !strings.Contains(term.row(4), "0.90") {
			t.Errorf("after a minute: %d drawings, %q", term.writes-drawn, term.row(4))
		}
		f.Health = "not ready: API server"
		time.Sleep(look)
		synctest.Wait()
		if !strings.Contains(term.row(3), "API server") {
			t.Errorf("after a change: %q", term.row(3))
		}
		cancel()
		<-done
	})
}

func TestNothingLeavesTheRowsOfTheStatus(t *testing.T) {
	f := Facts{Name: "x\x1b[2Jy\n", Addresses: []string{strings.Repeat("2001:db8::1/64 ", 20)}, Health: "\r\n\x9b"}
	for _, cols := range []int{20, 80, 200} {
		text := string(draw(f, 24, cols))
		if strings.ContainsAny(text, "\n\r\u009b") || strings.Contains(text, "[2Jy\x1b") || strings.Count(text, "\x1b[2J") != 0 {
			t.Errorf("%d columns: control bytes of a fact are drawn: %q", cols, text)
		}
		if !strings.HasPrefix(text, "\x1b7") || !strings.HasSuffix(text, "\x1b8") {
			t.Errorf("%d columns: not between ESC 7 and ESC 8: %q", cols, text)
		}
		term := newTerminal(24, cols)
		term.Draw(func(int, int) []byte { return []byte(text) })
		if got := term.row(statusRows); got != "" {
			t.Errorf("%d columns: row below the status: %q", cols, got)
		}
	}
}

func TestATinyTerminalIsLeftAlone(t *testing.T) {
	for _, f := range []func(int, int) []byte{begin, end, func(r, c int) []byte { return draw(Facts{}, r, c) }} {
		if got := f(minRows-1, 80); got != nil {
			t.Errorf("drawn on %d rows: %q", minRows-1, got)
		}
	}
}
