package trial

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
)

// world is a machine whose power fails: everything in it outlives a boot. After fuse writes the next one is not done and
// nothing after it, until the machine boots again.
type world struct {
	t        *testing.T
	counting bool // the boot loader counts tries
	boot     bootcontrol.State
	rec      record.Record
	data     string            // the datastore
	snaps    map[string]string // of it
	fuse     int               // -1: never
	booted   []bootcontrol.Slot
	commits  []bootcontrol.Slot
	full     bool // no room for a snapshot
}

var errCut = errors.New("power cut")

// write does f unless the power has failed.
func (w *world) write(f func()) {
	if w.fuse == 0 {
		panic(errCut)
	}
	w.fuse--
	f()
}

func (w *world) State() (bootcontrol.State, error) { return w.boot, nil }

func (w *world) Arm(s bootcontrol.Slot) error {
	w.write(func() { w.boot.Trial, w.boot.TriesLeft, w.boot.TriesDone = s, bootcontrol.Tries, 0 })
	return nil
}

func (w *world) Commit(s bootcontrol.Slot) error {
	w.write(func() { w.boot = bootcontrol.State{Default: s} })
	if !slices.Contains(w.booted, s) {
		w.t.Errorf("slot %s is committed and was never booted", s)
	}
	w.commits = append(w.commits, s)
	return nil
}

func (w *world) Load() (*record.Record, error) {
	r := w.rec
	if r.Attempt != nil {
		a := *r.Attempt
		r.Attempt = &a
	}
	return &r, nil
}

func (w *world) Save(r *record.Record) error {
	c := *r
	if r.Attempt != nil {
		a := *r.Attempt
		c.Attempt = &a
	}
	w.write(func() { w.rec = c })
	return nil
}

func (w *world) Has(id string) bool { _, ok := w.snaps[id]; return ok }

func (w *world) Take(id string) error {
	if w.full {
		return errors.New("not enough room")
	}
	w.write(func() { w.snaps[id] = w.data })
	return nil
}

func (w *world) Restore(id string) error {
	s, ok := w.snaps[id]
	if !ok {
		w.t.Errorf("restore of a snapshot that is not there: %s", id)
	}
	w.write(func() { w.data = s })
	return nil
}

func (w *world) Remove() error {
	w.write(func() { clear(w.snaps) })
	return nil
}

// next is the boot loader.
func (w *world) next() bootcontrol.Slot {
	s := w.boot.Next()
	if s == w.boot.Trial && w.counting {
		w.boot.TriesLeft--
		w.boot.TriesDone++
	}
	w.booted = append(w.booted, s)
	return s
}

// system is what PID 1 of a slot does in one boot. lives says whether the new system's boots reach PID 1, and good
// whether its gate passes.
func (w *world) system(slot bootcontrol.Slot, lives, good, crashes bool) {
	if slot == bootcontrol.B && !lives {
		return // a panic of the kernel
	}
	state := w.boot
	u := &Upgrade{
		Slot: slot, RootHash: map[bootcontrol.Slot]string{"a": "aa", "b": "bb"}[slot], Control: w, Boot: &state, Records: w, Snapshots: w,
		MinimumSerial: 3, Tail: func(string) []string { return []string{"tail"} }, Say: func(string, ...any) {},
	}
	o, err := u.Begin()
	if err != nil {
		w.t.Errorf("Begin = %v", err)
	}
	if o.Reboot != "" {
		return
	}
	// The node runs.
	if slot == bootcontrol.B {
		w.data = "new"
	}
	if o.Verdict != Try || crashes {
		return
	}
	if good {
		err = u.Passed()
	} else {
		err = u.Failed("the node never got ready", []string{"tail"})
	}
	if err != nil {
		w.t.Errorf("gate: %v", err)
	}
}

// live boots until nothing changes, and returns after how many boots.
func (w *world) live(story func(slot bootcontrol.Slot)) int {
	for n := 1; n <= 12; n++ {
		before := fmt.Sprintf("%+v %+v %s", w.boot, w.rec.Attempt, w.data)
		cut := false
		func() {
			defer func() {
				if v := recover(); v != nil {
					cut = true
					if v != errCut {
						panic(v)
					}
					w.fuse = -1
				}
			}()
			story(w.next())
		}()
		if !cut && before == fmt.Sprintf("%+v %+v %s", w.boot, w.rec.Attempt, w.data) && w.boot.Trial == "" {
			return n
		}
	}
	w.t.Errorf("12 boots and no end: boot control %+v, attempt %+v", w.boot, w.rec.Attempt)
	return 12
}

func newWorld(t *testing.T, counting bool) *world {
	w := &world{
		t: t, counting: counting, boot: bootcontrol.State{Default: "a"}, data: "old", snaps: map[string]string{}, fuse: -1,
		booted: []bootcontrol.Slot{"a"},
	}
	w.rec.Attempt = attempt(record.Armed, 0, "")
	w.boot.Trial, w.boot.TriesLeft = "b", bootcontrol.Tries
	return w
}

// TestEveryPowerCutEndsInOneOfTheTwoSystems cuts the power before each write of each story, counted or not.
func TestEveryPowerCutEndsInOneOfTheTwoSystems(t *testing.T) {
	for _, story := range []struct {
		name                 string
		lives, good, crashes bool
		snapshot             bool // made in the shutdown
	}{
		{"good", true, true, false, true},
		{"good, no shutdown", true, true, false, false},
		{"gate fails", true, false, false, true},
		{"gate fails, no shutdown", true, false, false, false},
		{"PID 1 hangs in the gate", true, false, true, true},
		{"kernel panics", false, false, false, true},
	} {
		for _, counting := range []bool{true, false} {
			if !counting && !story.lives {
				continue // a boot loader that does not count and a kernel that does not start: nobody is there to help
			}
			for cut := -1; cut < 12; cut++ {
				w := newWorld(t, counting)
				if story.snapshot {
					w.snaps["u1"] = w.data
				}
				w.fuse = cut
				w.live(func(slot bootcontrol.Slot) { w.system(slot, story.lives, story.good, story.crashes) })
				where := fmt.Sprintf("%s, counting %v, cut before write %d", story.name, counting, cut)
				a := w.rec.Attempt
				if story.good {
					if w.boot.Default != "b" || a.State != record.Good || w.data != "new" || w.rec.MinimumSerial != 5 {
						t.Errorf("%s: boot control %+v, attempt %+v, data %s, minimum serial %d", where, w.boot, a, w.data, w.rec.MinimumSerial)
					}
				} else if w.boot.Default != "a" || a.State != record.RolledBack || w.data != "old" || a.Reason == "" || w.rec.MinimumSerial != 0 {
					t.Errorf("%s: boot control %+v, attempt %+v, data %s", where, w.boot, a, w.data)
				}
				if w.boot.Trial != "" || len(w.snaps) > 0 && cut < 0 {
					t.Errorf("%s: boot control %+v, snapshots %v, want none left", where, w.boot, w.snaps)
				}
			}
		}
	}
}

func TestAFailedGateIsToldWithItsReasonAndTail(t *testing.T) {
	w := newWorld(t, true)
	n := w.live(func(slot bootcontrol.Slot) { w.system(slot, true, false, false) })
	a := w.rec.Attempt
	if a.Reason != "the node never got ready" || !slices.Equal(a.Tail, []string{"tail"}) || a.Tries != 1 || n > 3 {
		t.Errorf("after %d boots: attempt %+v", n, a)
	}
	if want := []bootcontrol.Slot{"a", "a"}; !slices.Equal(w.commits, want) {
		t.Errorf("commits %v, want %v", w.commits, want)
	}
}

func TestNoRoomForASnapshotIsARollbackBeforeTheNodeRan(t *testing.T) {
	w := newWorld(t, true)
	w.full = true
	w.live(func(slot bootcontrol.Slot) { w.system(slot, true, true, false) })
	if a := w.rec.Attempt; a.State != record.RolledBack || !strings.Contains(a.Reason, "not enough room") || w.data != "old" || a.Tries != 0 {
		t.Errorf("attempt %+v, data %s", a, w.data)
	}
}

func TestATrialWithoutTheStatePartitionIsGivenUp(t *testing.T) {
	w := newWorld(t, true)
	slot := w.next()
	state := w.boot
	u := &Upgrade{Slot: slot, RootHash: "bb", Control: w, Boot: &state, Snapshots: w, Say: func(string, ...any) {}}
	if !u.OnTrial() {
		t.Error("OnTrial = false")
	}
	o, err := u.Begin()
	if o.Verdict != Try || err != nil {
		t.Errorf("Begin = %+v, %v, want a trial without a record", o, err)
	}
	if err := u.Failed("the state partition cannot be mounted", nil); err != nil || w.boot.Default != "a" || w.boot.Trial != "" {
		t.Errorf("Failed = %v, boot control %+v", err, w.boot)
	}
}

func TestWithoutABootControlNothingIsCommitted(t *testing.T) {
	w := newWorld(t, true)
	w.next()
	u := &Upgrade{Slot: "b", RootHash: "bb", Records: w, Snapshots: w, Say: func(string, ...any) {}}
	if o, err := u.Begin(); o.Verdict != Try || err != nil {
		t.Errorf("Begin = %+v, %v", o, err)
	}
	if err := u.Passed(); err == nil {
		t.Error("Passed without a boot control is no error")
	}
	if err := u.Failed("bad", nil); err == nil || w.rec.Attempt.Reason != "bad" || len(w.commits) > 0 {
		t.Errorf("Failed = %v, attempt %+v, commits %v", err, w.rec.Attempt, w.commits)
	}
}

func TestTheKernelsLastWordsAreTheReason(t *testing.T) {
	w := newWorld(t, true)
	w.boot.TriesLeft, w.boot.TriesDone = 0, 3
	w.snaps["u1"] = "old"
	slot := w.next()
	state := w.boot
	u := &Upgrade{
		Slot: slot, RootHash: "aa", Control: w, Boot: &state, Records: w, Snapshots: w, Say: func(string, ...any) {},
		Panic: "<6>[    1.0] hello\n<0>[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n<0>[    2.1] CPU: 0",
	}
	if o, err := u.Begin(); o.Verdict != RollBack || err != nil {
		t.Fatalf("Begin = %+v, %v", o, err)
	}
	if a := w.rec.Attempt; a.Reason != "kernel panic: Attempted to kill init! exitcode=0x00000100" || !strings.Contains(a.Panic, "hello") {
		t.Errorf("attempt %+v", a)
	}
	if w.data != "old" || w.rec.Attempt.State != record.RolledBack {
		t.Errorf("data %s, attempt %+v", w.data, w.rec.Attempt)
	}
}

func TestARestoreThatFailsIsToldAndNotRepeatedLater(t *testing.T) {
	w := newWorld(t, true)
	w.rec.Attempt = attempt(record.Trying, 1, "bad")
	w.boot = bootcontrol.State{Default: "a"}
	u := &Upgrade{Slot: "a", RootHash: "aa", Control: w, Boot: &w.boot, Records: w, Snapshots: broken{w}, Say: func(string, ...any) {}}
	_, err := u.Begin()
	a := w.rec.Attempt
	if err == nil || a.State != record.RolledBack || !strings.Contains(a.Reason, "could not be restored: broken") || !w.Has("u1") {
		t.Errorf("Begin = %v, attempt %+v", err, a)
	}
}

type broken struct{ *world }

func (b broken) Has(string) bool      { b.snaps["u1"] = "old"; return true }
func (b broken) Restore(string) error { return errors.New("broken") }

func TestTheSnapshotIsMadeInTheShutdownOfAnArmedUpgradeOnly(t *testing.T) {
	for name, c := range map[string]struct {
		attempt *record.Attempt
		hash    string
		want    bool
	}{
		"armed":             {attempt(record.Armed, 0, ""), "aa", true},
		"no upgrade":        {nil, "aa", false},
		"good":              {attempt(record.Good, 1, ""), "bb", false},
		"on trial":          {attempt(record.Trying, 1, ""), "bb", false},
		"the new one, even": {attempt(record.Armed, 0, ""), "bb", false},
	} {
		w := newWorld(t, true)
		w.rec.Attempt = c.attempt
		u := &Upgrade{Slot: "a", RootHash: c.hash, Records: w, Snapshots: w}
		if made, err := u.BeforeReboot(); err != nil || made != c.want || w.Has("u1") != c.want {
			t.Errorf("%s: BeforeReboot = %v, %v, snapshot %v, want %v", name, made, err, w.Has("u1"), c.want)
		}
	}
}
