package trial

import (
	"errors"
	"fmt"
	"time"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/record"
)

// Snapshots is package snapshot's Store.
type Snapshots interface {
	Has(id string) bool
	Take(id string) error
	Restore(id string) error
	Remove() error
}

// Records is where the record is kept.
type Records interface {
	Load() (*record.Record, error)
	Save(r *record.Record) error
}

// Folder is a record in a file of this folder.
type Folder string

// Load implements Records.
func (f Folder) Load() (*record.Record, error) { return record.Load(string(f)) }

// Save implements Records.
func (f Folder) Save(r *record.Record) error { return r.Save(string(f)) }

// Upgrade is the A/B upgrade as PID 1 sees it in one boot. Its methods are called one after the other.
type Upgrade struct {
	Slot          bootcontrol.Slot    // booted; "": not known
	RootHash      string              // booted, hex
	MinimumSerial int64               // that the booted system demands of what replaces it
	Control       bootcontrol.Control // nil: the disk could not be read
	Boot          *bootcontrol.State  // of Control at the start of this boot; nil: could not be read
	Records       Records             // nil: the state partition is not mounted
	Snapshots     Snapshots

	// Tail returns the last lines of the boot before this one, if that was one of slot; Panic the kernel's last words.
	Tail  func(slot string) []string
	Panic string
	// Say tells the operator, on the console and as an event.
	Say func(format string, args ...any)
	// Now is the time that is written down; nil: time.Now.
	Now func() time.Time
}

func (u *Upgrade) now() time.Time {
	if u.Now != nil {
		return u.Now().UTC()
	}
	return time.Now().UTC().Truncate(time.Second)
}

// OnTrial says whether the boot control has the booted slot on trial.
func (u *Upgrade) OnTrial() bool {
	return u.Boot != nil && u.Slot != "" && u.Boot.Trial == u.Slot && u.Boot.Default != u.Slot
}

// Outcome is what Begin found and did.
type Outcome struct {
	Verdict Verdict
	ID      string // of the attempt it is about; empty: none
	// Reboot is why the machine has to reboot now, into the default slot; empty: it goes on.
	Reboot string
	// Connected says that the system before had an address on the network; with Try.
	Connected bool
	// Note is for the boot table.
	Note string
}

// Begin settles what this boot is about. With the verdict Try the gate has to be run, and then Passed or Failed called.
// Before the node process is started, and after the state partition was mounted.
func (u *Upgrade) Begin() (Outcome, error) {
	r, err := u.load()
	if err != nil {
		u.Say("upgrade: %v; going on without it", err)
	}
	v, why := Decide(Facts{u.Slot, u.RootHash, u.Boot, r.Attempt})
	o := Outcome{Verdict: v}
	if r.Attempt != nil && v != Nothing && v != Disarm {
		o.ID = r.Attempt.ID
	}
	switch v {
	case Try:
		return u.try(r, o)
	case Abandon:
		o.Reboot = fmt.Sprintf("the system in slot %s has failed its trial: %s", u.Slot, why)
		o.Note = "failed: " + why
		return o, u.abandon(r, why)
	case Finish:
		o.Note = "finished what was committed"
		return o, u.good(r)
	case RollBack:
		o.Note = "rolled back: " + why
		return o, u.rollBack(r, why)
	case Cancel:
		u.Say("upgrade to %s was called off: %s", r.Attempt.To.Version, why)
		r.Attempt.State, r.Attempt.Reason, r.Attempt.Finished = record.Canceled, why, u.now()
		o.Note = "called off: " + why
		return o, errors.Join(u.disarm(), u.save(r), u.Snapshots.Remove())
	case Disarm:
		u.Say("upgrade: the trial of slot %s is over; slot %s stays the default", u.Slot.Other(), u.Slot)
		o.Note = "ended a trial"
		return o, u.disarm()
	}
	return o, nil
}

func (u *Upgrade) load() (*record.Record, error) {
	if u.Records == nil {
		return &record.Record{}, nil
	}
	return u.Records.Load()
}

func (u *Upgrade) save(r *record.Record) error {
	if u.Records == nil {
		return errors.New("no state partition to write the upgrade's record on")
	}
	return u.Records.Save(r)
}

// try counts the boot and makes sure that there is a snapshot, in the order that never leaves a counted try without one.
func (u *Upgrade) try(r *record.Record, o Outcome) (Outcome, error) {
	a := r.Attempt
	if a == nil || !a.Open() || a.To.RootHash != u.RootHash {
		o.ID = ""
		o.Note = fmt.Sprintf("slot %s is on trial, without a record", u.Slot)
		u.Say("%s", o.Note)
		return o, nil
	}
	if a.Tries == 0 && !u.Snapshots.Has(a.ID) {
		if err := u.Snapshots.Take(a.ID); err != nil {
			// The node was not started: nothing has to be restored.
			why := fmt.Sprintf("no snapshot of the datastore could be made: %v", err)
			o.Reboot, o.Note = why, "failed: "+why
			return o, u.abandon(r, why)
		}
	}
	a.Tries++
	a.State = record.Trying
	if err := u.save(r); err != nil {
		// Uncounted it could be tried for ever, and its failure could not be told.
		why := fmt.Sprintf("the try could not be counted: %v", err)
		o.Reboot, o.Note = why, "failed: "+why
		return o, u.commitDefault()
	}
	o.Connected = a.Connected
	o.Note = fmt.Sprintf("slot %s is on trial, boot %d of %d", u.Slot, a.Tries, bootcontrol.Tries)
	u.Say("upgrade from %s to %s: %s", a.From.Version, a.To.Version, o.Note)
	return o, nil
}

// Passed keeps the booted system. The datastore's snapshot goes when everything is written.
func (u *Upgrade) Passed() error {
	if u.Slot == "" || u.Control == nil {
		return errors.New("commit: it is not known which slot was booted")
	}
	if err := u.Control.Commit(u.Slot); err != nil {
		return err
	}
	u.Boot = &bootcontrol.State{Default: u.Slot}
	r, err := u.load()
	if err != nil || r.Attempt == nil || r.Attempt.To.RootHash != u.RootHash || !r.Attempt.Open() {
		u.Say("slot %s is good", u.Slot)
		return err
	}
	return u.good(r)
}

func (u *Upgrade) good(r *record.Record) error {
	a := r.Attempt
	a.State, a.Reason, a.Finished = record.Good, "", u.now()
	r.MinimumSerial = max(r.MinimumSerial, u.MinimumSerial, a.To.MinimumSerial)
	u.Say("upgrade to %s is good: slot %s stays", a.To.Version, u.Slot)
	return errors.Join(u.save(r), u.Snapshots.Remove())
}

// Failed gives the booted system up, with the last lines of its logs: the machine has to reboot.
func (u *Upgrade) Failed(reason string, tail []string) error {
	r, err := u.load()
	if err != nil {
		u.Say("upgrade: %v", err)
	}
	if a := r.Attempt; a.Open() && a.To.RootHash == u.RootHash {
		a.Tail = tail
	}
	return u.abandon(r, reason)
}

// abandon writes the reason down, and then makes the default the next to boot. Without a record it still does the latter.
func (u *Upgrade) abandon(r *record.Record, why string) error {
	u.Say("slot %s is given up: %s", u.Slot, why)
	var err error
	if a := r.Attempt; a.Open() && a.To.RootHash == u.RootHash {
		if a.Reason == "" {
			a.Reason = why
		}
		err = u.save(r)
	}
	return errors.Join(err, u.commitDefault())
}

// commitDefault ends the trial of the booted slot in favour of the default that the boot control had at boot.
func (u *Upgrade) commitDefault() error {
	if u.Control == nil || u.Boot == nil {
		return errors.New("the boot control cannot be read: the boot loader has to give the slot up by itself")
	}
	if u.Boot.Default == u.Slot {
		return nil // committed by somebody: there is nothing to go back to
	}
	return u.Control.Commit(u.Boot.Default)
}

// rollBack is the old system's part.
func (u *Upgrade) rollBack(r *record.Record, why string) error {
	a := r.Attempt
	if u.Panic != "" {
		a.Panic = u.Panic
		if a.Reason == "" {
			why = "kernel panic: " + PanicLine(u.Panic)
		}
	}
	if a.Reason == "" {
		a.Reason = why
	}
	if len(a.Tail) == 0 && u.Tail != nil {
		a.Tail = u.Tail(a.To.Slot)
	}
	u.Say("upgrade to %s was rolled back: %s", a.To.Version, a.Reason)
	// A snapshot of an upgrade whose node never ran is the datastore as it is, or older.
	var rerr error
	if a.Tries > 0 && u.Snapshots.Has(a.ID) {
		if rerr = u.Snapshots.Restore(a.ID); rerr != nil {
			rerr = u.Snapshots.Restore(a.ID)
		}
		if rerr == nil {
			u.Say("the datastore is as it was before the upgrade")
		} else {
			// The node goes on with what there is, and what it then writes must not be replaced by a later attempt.
			rerr = fmt.Errorf("%w; the snapshot stays in %s until the next upgrade", rerr, record.SnapshotDir)
			a.Reason += "; and the datastore could not be restored: " + rerr.Error()
		}
	}
	a.State, a.Finished = record.RolledBack, u.now()
	if err := errors.Join(rerr, u.save(r), u.disarm()); err != nil {
		return err
	}
	return u.Snapshots.Remove()
}

// disarm commits the booted slot if it is the default: that ends a trial of the other one.
func (u *Upgrade) disarm() error {
	if u.Control == nil || u.Boot == nil || u.Boot.Default != u.Slot {
		return nil
	}
	if err := u.Control.Commit(u.Slot); err != nil {
		return err
	}
	u.Boot = &bootcontrol.State{Default: u.Slot}
	return nil
}

// BeforeReboot is called in a shutdown when the node process has ended: with an armed attempt it makes the snapshot that
// the trial's first boot would have to make otherwise, and reports whether it did.
func (u *Upgrade) BeforeReboot() (made bool, err error) {
	r, err := u.load()
	if err != nil || r.Attempt == nil || r.Attempt.State != record.Armed || r.Attempt.Tries > 0 || r.Attempt.From.RootHash != u.RootHash {
		return false, err
	}
	if err := u.Snapshots.Take(r.Attempt.ID); err != nil {
		return false, err
	}
	return true, nil
}
