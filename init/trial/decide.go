package trial

import (
	"fmt"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
)

// Facts are what is known at boot.
type Facts struct {
	Slot     bootcontrol.Slot   // booted; "": not known
	RootHash string             // booted, hex
	Boot     *bootcontrol.State // as the boot loader left it; nil: could not be read
	Attempt  *record.Attempt    // of the record; nil: none, or it could not be read
}

// Verdict is what a boot is about.
type Verdict int

// The verdicts.
const (
	// Nothing is under way.
	Nothing Verdict = iota
	// Try: the booted slot is on trial, or its attempt was never watched by a gate.
	Try
	// Abandon: the booted slot is on trial, and has failed already: commit the default, reboot.
	Abandon
	// Finish: the booted slot was committed after its trial, and the record does not say so yet.
	Finish
	// RollBack: the old slot runs, and the trial is over: restore the snapshot, record it, commit the old slot.
	RollBack
	// Cancel: the attempt was written down, and never armed.
	Cancel
	// Disarm: the boot control has a trial that no attempt is open for: commit the default, which runs.
	Disarm
)

func (v Verdict) String() string {
	return [...]string{"nothing", "try", "abandon", "finish", "roll back", "cancel", "disarm"}[v]
}

// Decide says what this boot is about, and why where it is a failure.
func Decide(f Facts) (v Verdict, why string) {
	a := f.Attempt
	known := f.Boot != nil && f.Slot != ""
	onTrial := known && f.Boot.Trial == f.Slot && f.Boot.Default != f.Slot
	otherTrial := known && f.Boot.Trial == f.Slot.Other() && f.Boot.Default == f.Slot
	isTo := a != nil && f.Slot != "" && a.To.Slot == string(f.Slot) && a.To.RootHash == f.RootHash
	isFrom := a != nil && f.Slot != "" && a.From.Slot == string(f.Slot) && a.From.RootHash == f.RootHash
	switch {
	case onTrial && isTo && a.Open():
		return try(a)
	case onTrial && isTo && (a.State == record.RolledBack || a.State == record.Canceled):
		return Abandon, fmt.Sprintf("the attempt is over (%s)", a.State)
	case onTrial:
		return Try, "" // armed by somebody who keeps no record
	case a.Open() && isTo && !known:
		return try(a)
	case a.Open() && isTo && a.Tries > 0 && a.Reason == "":
		return Finish, ""
	case a.Open() && isTo:
		return Try, "" // there is nothing to fall back to, but the gate's word on it is worth having
	case a.Open() && isFrom && a.Tries == 0 && a.Reason == "" && known && f.Boot.Trial == "":
		return Cancel, "it was never armed"
	case a.Open() && isFrom:
		return RollBack, lost(a, f.Boot)
	case a.Open():
		return Cancel, "neither of its systems runs"
	case otherTrial:
		return Disarm, ""
	}
	return Nothing, ""
}

// try decides whether a trial gets another boot. The record counts as well, for boot loaders that do not.
func try(a *record.Attempt) (Verdict, string) {
	switch {
	case a.Reason != "":
		return Abandon, a.Reason
	case a.Tries >= bootcontrol.Tries:
		return Abandon, fmt.Sprintf("%d boots, and none proved itself", a.Tries)
	}
	return Try, ""
}

// lost is why a trial ended without a word of its own.
func lost(a *record.Attempt, s *bootcontrol.State) string {
	switch {
	case a.Reason != "":
		return a.Reason
	case a.Tries > 0:
		return fmt.Sprintf("%d boots ended without a word: a kernel panic, a hang, or the power was cut", a.Tries)
	case s != nil && s.Trial != "" && s.TriesLeft > 0 && s.TriesDone == 0:
		return "the boot loader did not start it"
	}
	return "it did not get as far as mounting the state partition: no boot loader, kernel or root that works, or a kernel panic"
}
