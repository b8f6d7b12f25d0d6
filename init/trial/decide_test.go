package trial

import (
	"strings"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
)

// attempt is one from slot a to slot b.
func attempt(state record.State, tries int, reason string) *record.Attempt {
	return &record.Attempt{
		ID: "u1", From: record.System{Slot: "a", RootHash: "aa"}, To: record.System{Slot: "b", RootHash: "bb", MinimumSerial: 5},
		State: state, Tries: tries, Reason: reason,
	}
}

func TestDecide(t *testing.T) {
	armed := func(left, done int) *bootcontrol.State {
		return &bootcontrol.State{Default: "a", Trial: "b", TriesLeft: left, TriesDone: done}
	}
	only := func(s bootcontrol.Slot) *bootcontrol.State { return &bootcontrol.State{Default: s} }
	const A, B = bootcontrol.A, bootcontrol.B
	for _, c := range []struct {
		name    string
		slot    bootcontrol.Slot
		hash    string
		boot    *bootcontrol.State
		attempt *record.Attempt
		want    Verdict
		why     string
	}{
		{"a node that was never upgraded", A, "aa", only(A), nil, Nothing, ""},
		{"nothing is known", "", "", nil, nil, Nothing, ""},
		{"after a good upgrade", B, "bb", only(B), attempt(record.Good, 1, ""), Nothing, ""},
		{"after a rollback", A, "aa", only(A), attempt(record.RolledBack, 3, "x"), Nothing, ""},

		{"first boot of a trial", B, "bb", armed(2, 1), attempt(record.Armed, 0, ""), Try, ""},
		{"second boot of a trial", B, "bb", armed(1, 2), attempt(record.Trying, 1, ""), Try, ""},
		{"last boot of a trial", B, "bb", armed(0, 3), attempt(record.Trying, 2, ""), Try, ""},
		{"a boot loader that does not count", B, "bb", armed(3, 0), attempt(record.Trying, 3, ""), Abandon, "3 boots"},
		{"the gate failed, and the power was cut before the commit", B, "bb", armed(1, 2), attempt(record.Trying, 1, "not ready"), Abandon, "not ready"},
		{"rolled back, and the power was cut before the commit", B, "bb", armed(1, 2), attempt(record.RolledBack, 1, "x"), Abandon, "rolled-back"},
		{"a trial without a record", B, "bb", armed(2, 1), nil, Try, ""},
		{"a trial of another root than the record's", B, "cc", armed(2, 1), attempt(record.RolledBack, 1, "x"), Try, ""},
		{"the boot control cannot be read in a trial", B, "bb", nil, attempt(record.Trying, 1, ""), Try, ""},
		{"and it had failed", B, "bb", nil, attempt(record.Trying, 1, "bad"), Abandon, "bad"},

		{"committed, and the power was cut before the record", B, "bb", only(B), attempt(record.Trying, 1, ""), Finish, ""},
		{"committed by hand", B, "bb", only(B), attempt(record.Armed, 0, ""), Try, ""},

		{"the boot loader gave up", A, "aa", armed(0, 3), attempt(record.Trying, 2, ""), RollBack, "without a word"},
		{"it never got to the record", A, "aa", armed(0, 3), attempt(record.Armed, 0, ""), RollBack, "state partition"},
		{"the boot loader could not load it", A, "aa", armed(3, 0), attempt(record.Armed, 0, ""), RollBack, "did not start"},
		{"the old slot was chosen in the boot menu", A, "aa", armed(2, 1), attempt(record.Trying, 1, ""), RollBack, "without a word"},
		{"the gate failed and committed", A, "aa", only(A), attempt(record.Trying, 1, "API server down"), RollBack, "API server down"},
		{"a try was counted, and somebody committed", A, "aa", only(A), attempt(record.Trying, 1, ""), RollBack, "without a word"},
		{"the boot control cannot be read after a trial", A, "aa", nil, attempt(record.Trying, 1, ""), RollBack, "without a word"},
		{"the power was cut before it was armed", A, "aa", only(A), attempt(record.Armed, 0, ""), Cancel, "never armed"},

		{"the disk was written anew", A, "dd", only(A), attempt(record.Armed, 0, ""), Cancel, "neither"},
		{"rolled back, the old slot runs, not committed yet", A, "aa", armed(0, 3), attempt(record.RolledBack, 1, "x"), Disarm, ""},
		{"tries used up without a record", A, "aa", armed(0, 3), nil, Disarm, ""},
	} {
		v, why := Decide(Facts{c.slot, c.hash, c.boot, c.attempt})
		if v != c.want || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: Decide = %v, %q, want %v with %q", c.name, v, why, c.want, c.why)
		}
	}
}

// TestNothingIsTriedForever goes through every state of the disk: a slot on trial runs at most Tries times.
func TestNothingIsTriedForever(t *testing.T) {
	for _, boot := range []*bootcontrol.State{nil, {Default: "a", Trial: "b", TriesLeft: 3}, {Default: "a", Trial: "b", TriesDone: 3}} {
		a := attempt(record.Armed, 0, "")
		boots := 0
		for ; boots < 10; boots++ {
			if v, _ := Decide(Facts{"b", "bb", boot, a}); v != Try {
				break
			}
			a.State = record.Trying
			a.Tries++
		}
		if boots != bootcontrol.Tries {
			t.Errorf("boot control %+v: %d boots, want %d", boot, boots, bootcontrol.Tries)
		}
	}
}
