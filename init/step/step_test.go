package step

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type lines struct{ l []string }

func (p *lines) Printf(format string, args ...any) {
	p.l = append(p.l, strings.Split(fmt.Sprintf(format, args...), "\n")...)
}

func TestTableShowsEachStepAndFailuresWithAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		table := NewTable(&out)
		table.Otherwise = "try again"
		table.Add(Step{Name: "kernel", Duration: 1500 * time.Millisecond})
		table.Run("modules", func() (string, error) {
			time.Sleep(slow + time.Second)
			return "40", nil
		})
		err := table.Run("state", func() (string, error) {
			return "", Advise(fmt.Errorf("open disk: %w\nsecond line", fs.ErrNotExist), "connect %s", "it")
		})
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Run = %v, want the step's error", err)
		}
		table.Run("clock", func() (string, error) { panic("oops") })
		table.Print(&out)
		want := []string{
			"step modules: still running after 5s",
			"step state: open disk: file does not exist",
			"  second line",
			"  what to do: connect it",
			"step clock: BUG: panic: oops",
			"  what to do: try again",
			"boot table",
			"  kernel     1.500s ok",
			"  modules    6.000s ok (40)",
			"  state      0.000s open disk: file does not exist",
			"  clock      0.000s BUG: panic: oops",
			"end of boot table",
		}
		if !slices.Equal(out.l, want) {
			t.Errorf("console got\n%s\nwant\n%s", strings.Join(out.l, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestAdviseKeepsNil(t *testing.T) {
	if err := Advise(nil, "do"); err != nil {
		t.Errorf("Advise(nil) = %v", err)
	}
}
