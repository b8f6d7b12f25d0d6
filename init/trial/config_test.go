package trial

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

func newConfig(t *testing.T) Config {
	t.Helper()
	c := Config{Dir: t.TempDir()}
	put(t, c, configName, "old")
	return c
}

func put(t *testing.T, c Config, name, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Join(c.Dir, name), 0o700),
		os.WriteFile(filepath.Join(c.Dir, name, "keelson.yaml"), []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func inForce(c Config) string {
	b, err := os.ReadFile(filepath.Join(c.Dir, configName, "keelson.yaml"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func begin(t *testing.T, c Config, allowed bool) ConfigOutcome {
	t.Helper()
	o, err := c.Begin(allowed)
	if err != nil {
		t.Fatalf("Begin = %v", err)
	}
	return o
}

func TestANewConfigurationIsTriedAndKept(t *testing.T) {
	c := newConfig(t)
	if o := begin(t, c, true); o.OnTrial || inForce(c) != "old" {
		t.Fatalf("without a new one: %+v, in force %s", o, inForce(c))
	}
	put(t, c, nextName, "new")
	if o := begin(t, c, false); o.OnTrial || inForce(c) != "old" {
		t.Fatalf("not allowed: %+v, in force %s", o, inForce(c))
	}
	if o := begin(t, c, true); !o.OnTrial || o.Try != 1 || inForce(c) != "new" {
		t.Fatalf("first boot: %+v, in force %s", o, inForce(c))
	}
	if o := begin(t, c, false); !o.OnTrial || o.Try != 2 || inForce(c) != "new" {
		t.Fatalf("second boot: %+v, in force %s", o, inForce(c))
	}
	if err := c.Passed(); err != nil {
		t.Fatal(err)
	}
	if o := begin(t, c, true); o != (ConfigOutcome{}) || inForce(c) != "new" {
		t.Errorf("after it passed: %+v, in force %s", o, inForce(c))
	}
	if b, err := os.ReadFile(filepath.Join(c.Dir, oldName, "keelson.yaml")); err != nil || string(b) != "old" {
		t.Errorf("the old one is %q, %v, want it kept", b, err)
	}
	put(t, c, nextName, "newer")
	if o := begin(t, c, true); !o.OnTrial || inForce(c) != "newer" {
		t.Errorf("the next one: %+v, in force %s", o, inForce(c))
	}
}

func TestAConfigurationThatFailsIsUndoneWithItsReason(t *testing.T) {
	c := newConfig(t)
	put(t, c, nextName, "new")
	begin(t, c, true)
	if err := c.Undo("no address", []string{"x"}); err != nil || inForce(c) != "old" {
		t.Fatalf("Undo = %v, in force %s", err, inForce(c))
	}
	u, err := c.LastUndone()
	if err != nil || u == nil || u.Reason != "no address" || len(u.Tail) != 1 || u.Time.IsZero() {
		t.Errorf("LastUndone = %+v, %v", u, err)
	}
	if o := begin(t, c, true); o != (ConfigOutcome{}) {
		t.Errorf("the boot after: %+v, want nothing under way", o)
	}
	for _, name := range []string{failedName, oldName, nextName, markerName} {
		if c.has(name) {
			t.Errorf("%s is left", name)
		}
	}
	put(t, c, nextName, "newer")
	begin(t, c, true)
	if u, err := c.LastUndone(); u != nil || err != nil {
		t.Errorf("LastUndone of the next one = %+v, %v, want none", u, err)
	}
}

func TestBootsThatNeverGetToTheEndUndoIt(t *testing.T) {
	c := newConfig(t)
	put(t, c, nextName, "new")
	for i := range bootcontrol.Tries {
		if o := begin(t, c, true); !o.OnTrial || o.Try != i+1 {
			t.Fatalf("boot %d: %+v", i+1, o)
		}
	}
	if o := begin(t, c, true); o.OnTrial || !strings.Contains(o.Undone, "3 boots") || inForce(c) != "old" {
		t.Errorf("boot after the tries: %+v, in force %s", o, inForce(c))
	}
}

func TestUndoWithoutATrialChangesNothing(t *testing.T) {
	c := newConfig(t)
	put(t, c, oldName, "older")
	if err := errors.Join(c.Undo("x", nil), c.Passed()); err != nil || inForce(c) != "old" {
		t.Errorf("Undo = %v, in force %s", err, inForce(c))
	}
	if u, err := c.LastUndone(); u != nil || err != nil {
		t.Errorf("LastUndone = %+v, %v", u, err)
	}
}

func TestADamagedMarkerKeepsWhatIsInForce(t *testing.T) {
	c := newConfig(t)
	put(t, c, oldName, "older")
	if err := os.WriteFile(filepath.Join(c.Dir, markerName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(true); err == nil || inForce(c) != "old" {
		t.Errorf("Begin = %v, in force %s", err, inForce(c))
	}
	if o := begin(t, c, true); o != (ConfigOutcome{}) {
		t.Errorf("second Begin = %+v", o)
	}
}

// TestAPowerCutLeavesEitherConfiguration cuts the power at each write of taking a configuration and of undoing it.
func TestAPowerCutLeavesEitherConfiguration(t *testing.T) {
	errCut := errors.New("power cut")
	for _, undo := range []bool{false, true} {
		cuts := 0
		for fuse := 0; ; fuse++ {
			c := newConfig(t)
			put(t, c, oldName, "older")
			put(t, c, nextName, "new")
			n, where := fuse, ""
			c.cut = func(at string) {
				if n == 0 {
					where = at
					panic(errCut)
				}
				n--
			}
			run := func() {
				defer func() {
					if v := recover(); v != nil && v != errCut {
						panic(v)
					}
				}()
				begin(t, c, true)
				if undo {
					if err := c.Undo("bad", nil); err != nil {
						t.Errorf("Undo = %v", err)
					}
				}
			}
			run()
			c.cut = nil
			if where == "" {
				break // the fuse outlived it
			}
			cuts++
			what := fmt.Sprintf("undo %v, cut at %d, %s", undo, fuse, where)
			o := begin(t, c, true)
			switch {
			case o.OnTrial && inForce(c) == "new":
				if err := c.Undo("worse", nil); err != nil || inForce(c) != "old" {
					t.Errorf("%s: Undo = %v, in force %s", what, err, inForce(c))
				}
			case !o.OnTrial && o.Undone == "bad" && inForce(c) == "old" && undo:
			default:
				t.Errorf("%s: Begin = %+v, in force %s", what, o, inForce(c))
			}
			if o := begin(t, c, true); o != (ConfigOutcome{}) || inForce(c) != "old" {
				t.Errorf("%s: in the end %+v, in force %s", what, o, inForce(c))
			}
		}
		if want := map[bool]int{false: 5, true: 11}[undo]; cuts < want {
			t.Errorf("undo %v: %d cuts, want at least %d", undo, cuts, want)
		}
	}
}
