package bootcontrol_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keelson-os/keelson/tests/powercut"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// change is something that a node does to its disk, from a state that before brings about.
type change struct {
	name   string
	before func(w *bench, d live)
	do     func(w *bench, d bootcontrol.Disk) error
}

func arm(slot bootcontrol.Slot) func(w *bench, d bootcontrol.Disk) error {
	return func(w *bench, d bootcontrol.Disk) error { return w.open(d).Arm(slot) }
}

func commit(slot bootcontrol.Slot) func(w *bench, d bootcontrol.Disk) error {
	return func(w *bench, d bootcontrol.Disk) error { return w.open(d).Commit(slot) }
}

// armed has slot b on trial, and booted once by the first firmware.
func armed(w *bench, d live) {
	w.must(w.open(d).Arm(b))
	w.boots(w.chain.Firmwares()[0], d, "two")
}

// turned has slot b committed, at a generation of two digits or just before it.
func turned(w *bench, d live) {
	for range 4 {
		w.must(w.open(d).Commit(b))
		w.must(w.open(d).Commit(a))
	}
	w.must(w.open(d).Commit(b))
}

// failed has slot b committed, and a trial of slot a that has no tries left.
func failed(w *bench, d live) {
	turned(w, d)
	w.must(w.open(d).Arm(a))
	for _, f := range w.chain.Firmwares() {
		w.boots(f, d, slices.Repeat([]string{"one"}, w.tries())...)
		w.boots(f, d, "two")
	}
}

var changes = []change{
	{"end a failed trial", failed, commit(b)},
	{"arm", func(*bench, live) {}, arm(b)},
	{"arm after others", func(w *bench, d live) { turned(w, d); w.must(w.open(d).Commit(a)) }, arm(b)},
	{"arm back", turned, arm(a)},
	{"bless", armed, commit(b)},
	{"call off", armed, commit(a)},
	{"call off before the first try", func(w *bench, d live) { w.must(w.open(d).Arm(b)) }, commit(a)},
	{"commit without trial", func(*bench, live) {}, commit(b)},
	{"commit the other", turned, commit(a)},
	{"count", func(w *bench, d live) { w.must(w.open(d).Arm(b)) }, func(w *bench, d bootcontrol.Disk) error { return w.open(d).Count() }},
	{"write boot files", func(w *bench, d live) { w.must(w.open(d).RemoveBootFiles(b)) }, func(w *bench, d bootcontrol.Disk) error { w.install(d, b, w.two); return nil }},
	{"replace boot files", func(*bench, live) {}, func(w *bench, d bootcontrol.Disk) error { w.install(d, b, w.one); return nil }},
	{"remove boot files", func(*bench, live) {}, func(w *bench, d bootcontrol.Disk) error { return w.open(d).RemoveBootFiles(b) }},
}

// TestAPowerCutAnywhereBootsAsBeforeOrAfter cuts the power at every write and sync of every change, several times each: unsynced
// sectors are kept, lost or torn by chance.
func TestAPowerCutAnywhereBootsAsBeforeOrAfter(t *testing.T) {
	const cutsEach = 8
	eachChain(t, func(t *testing.T, w *bench) {
		for _, c := range changes {
			if c.name == "count" && w.chain != smallsystem.Pi {
				continue
			}
			before := w.ready()
			c.before(w, before)
			r := powercut.Record(before, smallsystem.Size)
			w.must(c.do(w, r))
			allowed := map[string][]string{}
			for _, f := range w.chain.Firmwares() {
				x, err := w.next(f, before)
				w.must(err)
				y, err := w.next(f, r)
				w.must(err)
				allowed[f.Name] = []string{x, y}
			}
			w.fsck(c.name, r)
			if r.Operations() == 0 {
				t.Errorf("%s: nothing was written", c.name)
			}
			rnd := rand.New(rand.NewPCG(1, uint64(len(c.name))))
			for cut := 0; cut <= r.Operations(); cut++ {
				for i := range cutsEach {
					d, err := r.Cut(cut, rnd)
					w.must(err)
					what := fmt.Sprintf("%s, cut %d of %d, variant %d", c.name, cut, r.Operations(), i)
					for _, f := range w.chain.Firmwares() {
						got, err := w.next(f, d)
						if err != nil {
							t.Fatalf("%s: %v", what, err)
						}
						want := allowed[f.Name]
						if cut == r.Operations() {
							want = want[1:] // what has returned is done
						}
						if !slices.Contains(want, got) {
							t.Fatalf("%s: %s boots %s, want one of %v", what, f.Name, got, want)
						}
					}
					if i == 0 && cut%4 == 1 {
						w.goesOn(what, newLive(d), cut%12 == 1)
					}
				}
			}
		}
	})
}

// goesOn checks that a node started from the disk can do what nodes do: commit what runs, upgrade the other slot, and bless it.
func (w *bench) goesOn(what string, d live, check bool) {
	w.t.Helper()
	f := w.chain.Firmwares()[0]
	name := w.boot(f, d)
	// A system may be in either slot, and system one in both.
	booted, other, s := a, b, w.two
	if name == "two" {
		booted, other, s = b, a, w.one
	}
	if err := w.open(d).Commit(booted); err != nil {
		w.t.Fatalf("%s: Commit(%s) = %v", what, booted, err)
	}
	for _, g := range w.chain.Firmwares() {
		w.state(g, d, bootcontrol.State{Default: booted})
		w.boots(g, d, name)
	}
	if err := w.open(d).RemoveBootFiles(other); err != nil {
		w.t.Fatalf("%s: RemoveBootFiles(%s) = %v", what, other, err)
	}
	if check {
		w.fsck(what+", and the removal of the other slot", d)
	}
	w.install(d, other, s)
	w.must(w.open(d).Arm(other))
	w.boots(f, d, s.Name)
	w.must(w.open(d).Commit(other))
	if check {
		w.fsck(what+", and another upgrade", d)
	}
}

// A disk that fails in the middle leaves what a cut would, and a Node that can be used again when it works again.
func TestAFailingDiskIsReportedAndLeavesTheSystem(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		before := w.ready()
		r := powercut.Record(before, smallsystem.Size)
		w.must(w.open(r).Arm(b))
		for n := range r.Operations() {
			d := powercut.Record(before, smallsystem.Size)
			d.FailAt = n
			if err := w.open(d).Arm(b); err == nil {
				t.Errorf("Arm on a disk that fails at operation %d = nil, want an error", n)
			}
			for _, f := range w.chain.Firmwares() {
				if _, err := w.next(f, d); err != nil {
					t.Errorf("fails at %d: %v", n, err)
				}
			}
			d.FailAt = -1
			w.must(w.open(d).Arm(b))
		}
	})
}

// A sector of the boot state that nobody can read any more (its content is anything) is made up for.
func TestDamagedBlocksAreReadAsBootLoadersDo(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		if w.chain != smallsystem.UBoot && w.chain != smallsystem.UEFIGRUB {
			t.Skip("has no blocks of boot state")
		}
		f := w.chain.Firmwares()[len(w.chain.Firmwares())-1]
		garbage := bytes.Repeat([]byte{0x5a}, 512)
		for name, sectors := range map[string][]int64{
			"first":      {0, 32},
			"copy":       {16, 40},
			"both":       {0, 16, 32, 40},
			"trial":      {8, 1},
			"everything": {0, 1, 8, 16, 32, 40},
		} {
			if w.chain == smallsystem.UEFIGRUB {
				// Sector 0 is the archive's header, which arming writes anew.
				sectors = slices.DeleteFunc(sectors, func(s int64) bool { return s == 8 || s == 16 })
			} else {
				sectors = slices.DeleteFunc(sectors, func(s int64) bool { return s != 0 && s != 8 && s != 16 })
			}
			for _, trial := range []bool{false, true} {
				d := w.ready()
				w.must(w.open(d).Commit(b))
				w.must(w.open(d).Commit(a))
				if trial {
					w.must(w.open(d).Arm(b))
				}
				for _, s := range sectors {
					if _, err := d.WriteAt(garbage, smallsystem.BootState+512*s); err != nil {
						t.Fatal(err)
					}
				}
				n := w.open(d)
				n.StartedBy(firmware(f))
				state, err := n.State()
				w.must(err)
				want := map[bootcontrol.Slot]string{a: "one", b: "two"}[state.Next()]
				if got, err := w.next(f, newLive(d)); err != nil || got != want {
					t.Errorf("%s, trial %v: %s boots %s, %v; State %+v", name, trial, f.Name, got, err, state)
				}
				w.must(n.Commit(a))
				w.boots(f, d, "one")
				w.must(n.Arm(b))
				w.boots(f, d, slices.Repeat([]string{"two"}, bootcontrol.Tries)...)
				w.boots(f, d, "one")
			}
		}
	})
}

// ordered is a disk that knows which sectors were written since the last sync.
type ordered struct {
	live
	pending map[int64]bool
	bad     []string
}

func (o *ordered) WriteAt(p []byte, off int64) (int, error) {
	o.pending[(off-smallsystem.BootState)/powercut.SectorSize] = true
	for _, pair := range [][2]int64{{0, 16}, {32, 40}} {
		if o.pending[pair[0]] && o.pending[pair[1]] {
			o.bad = append(o.bad, fmt.Sprintf("sectors %v of the bootstate area", pair))
		}
	}
	return o.live.WriteAt(p, off)
}

func (o *ordered) Sync() error {
	clear(o.pending)
	return nil
}

// A committed block and its copy are never on their way at once, so that a cut damages one of them.
func TestOneCommittedBlockIsAlwaysWhole(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		o := &ordered{live: w.ready(), pending: map[int64]bool{}}
		n := w.open(o)
		for range 3 {
			w.must(n.Commit(b))
			w.must(n.Arm(a))
			w.must(n.Commit(b))
			w.must(n.Commit(a))
		}
		if len(o.bad) > 0 {
			t.Errorf("written without a sync between them: %s", o.bad[0])
		}
		if len(o.pending) > 0 {
			t.Errorf("%d writes are not synced in the end", len(o.pending))
		}
	})
}
