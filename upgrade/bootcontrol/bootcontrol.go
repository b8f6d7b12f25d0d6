package bootcontrol

import "fmt"

// Slot is "a" or "b": a root partition and the boot files that start it.
type Slot string

// The slots.
const (
	A Slot = "a"
	B Slot = "b"
)

// Other returns the other slot.
func (s Slot) Other() Slot {
	if s == A {
		return B
	}
	return A
}

// Valid returns nil for A and B.
func (s Slot) Valid() error {
	if s != A && s != B {
		return fmt.Errorf("slot %q: want a or b", string(s))
	}
	return nil
}

// Tries is how many boots a trial has before the default slot is booted again. A boot chain that cannot
// count has one.
const Tries = 3

// State is what the boot loader will do.
type State struct {
	Default   Slot // booted when there is no trial, or when it has no tries left
	Trial     Slot // under trial, or "": none. It stays here with TriesLeft 0 until somebody commits
	TriesLeft int  // boots of Trial that are still to come
	TriesDone int  // boots of Trial that were counted
}

// Next is the slot of the next boot.
func (s State) Next() Slot {
	if s.Trial != "" && s.TriesLeft > 0 {
		return s.Trial
	}
	return s.Default
}

// Control reads and sets which slot boots. Whatever power cut, torn sector or order of the disk's
// writes ends a call, the next boot is that of the state before or after it, and the files of a slot that is not named are untouched.
// Not safe for several goroutines or processes at once.
type Control interface {
	// State reads the disk. Damaged blocks read as the boot loader takes them.
	State() (State, error)
	// Arm makes slot the next to boot, for Tries boots. Its root and boot files must be complete and synced;
	// slot is not State.Default. Arming again begins the tries anew; a
	// power cut meanwhile may boot the default, since the old trial is called off first.
	Arm(slot Slot) error
	// Commit makes slot the default and ends every trial: it blesses a trial, or calls one off. The slot's boot files must be
	// there. Committing the default when there is no trial writes nothing.
	Commit(slot Slot) error
}
