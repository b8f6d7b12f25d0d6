// Package record keeps, on the state partition, what came of a node's upgrades: the attempt under way or the last one, the
// ones before it, and the least serial that a bundle must have.
//
// Two processes write it, never at the same time: the machine API begins an attempt, arms it or calls it off while
// nothing is on trial; PID 1 writes at boot before the machine API is started, and while the booted slot is on trial.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-os/keelson/init/durable"
)

const (
	// Dir is where a node keeps the file, on the state partition.
	Dir = "/var/lib/rancher/keelson"
	// FileName is the file's name: JSON, one Record.
	FileName = "upgrade.json"
	// SnapshotDir holds the datastore's snapshots; see package snapshot.
	SnapshotDir = Dir + "/snapshot"
	// Datastore is the folder of the datastore that is snapshotted.
	Datastore = "/var/lib/rancher/k3s/server/db"

	// historyMax is how many attempts are kept besides the last one.
	historyMax = 10
	// sizeMax bounds what is read of the file, in bytes.
	sizeMax = 1 << 20
	// tailMax bounds the lines of a tail, lineMax a line or a reason, panicMax the kernel's last words; the latter in bytes.
	tailMax  = 40
	lineMax  = 500
	panicMax = 16 << 10
)

// State is how far an attempt has come.
type State string

// The states.
const (
	Armed      State = "armed"       // it is, or is about to be, the next to boot
	Trying     State = "trying"      // it was booted, and has to prove itself
	Good       State = "good"        // it has
	RolledBack State = "rolled-back" // it has not; Reason says why
	Canceled   State = "canceled"    // called off, or never armed
)

// System is a system in a slot.
type System struct {
	Slot     string `json:"slot"` // "a" or "b"
	Version  string `json:"version"`
	RootHash string `json:"rootHash"` // hex, lower case
	Serial   int64  `json:"serial"`
	// MinimumSerial is the least serial of what may replace this system.
	MinimumSerial int64 `json:"minimumSerial,omitempty"`
}

// Attempt is one upgrade.
type Attempt struct {
	ID      string    `json:"id"` // a file name; names the snapshot
	From    System    `json:"from"`
	To      System    `json:"to"`
	State   State     `json:"state"`
	Started time.Time `json:"started"`
	Armed   time.Time `json:"armed,omitzero"`
	// Connected says that From had an address on the network when the attempt was armed: To has to get one, too.
	Connected bool      `json:"connected,omitempty"`
	Tries     int       `json:"tries"`             // boots of To in which PID 1 got as far as the record
	Reason    string    `json:"reason,omitempty"`  // why it failed, or was called off; set before the attempt is over
	Tail      []string  `json:"tail,omitempty"`    // last lines of the failed boot
	Panic     string    `json:"panic,omitempty"`   // the kernel's last words, where the machine keeps them
	Finished  time.Time `json:"finished,omitzero"` //
}

// Open says that the attempt's end is still to come and that it may be what the next boot is about: armed or trying.
func (a *Attempt) Open() bool { return a != nil && (a.State == Armed || a.State == Trying) }

// Record is the file's content.
type Record struct {
	Attempt       *Attempt  `json:"attempt,omitempty"` // under way, or the last one; nil: never
	History       []Attempt `json:"history,omitempty"` // before that, the newest first
	MinimumSerial int64     `json:"minimumSerial"`     // raised by every upgrade that is good
}

// Begin puts a in the place of the attempt there is, which goes to the history.
func (r *Record) Begin(a Attempt) {
	if r.Attempt != nil {
		r.History = append([]Attempt{*r.Attempt}, r.History...)
	}
	r.Attempt = &a
}

// Load reads the record in dir. Without a file it is empty. One that is damaged is an error: the caller goes on with
// the empty record that comes with it.
func Load(dir string) (*Record, error) {
	r := &Record{}
	path := filepath.Join(dir, FileName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, sizeMax))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return &Record{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Save replaces the record in dir: after a power cut the old one or the new one is there. What is longer than the record
// keeps is cut.
func (r *Record) Save(dir string) error {
	c := *r
	c.History = append([]Attempt(nil), r.History[:min(len(r.History), historyMax)]...)
	for i := range c.History {
		c.History[i].trim()
	}
	if c.Attempt != nil {
		a := *c.Attempt
		a.trim()
		c.Attempt = &a
	}
	b, err := json.MarshalIndent(&c, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, FileName), append(b, '\n'), 0o600)
}

func (a *Attempt) trim() {
	a.Reason = cut(a.Reason, lineMax)
	a.Panic = cutFront(a.Panic, panicMax)
	tail := a.Tail[max(0, len(a.Tail)-tailMax):]
	a.Tail = nil
	for _, line := range tail {
		a.Tail = append(a.Tail, cut(line, lineMax))
	}
}

// cutFront keeps the end, where a log has what matters.
func cutFront(s string, limit int) string {
	if len(s) > limit {
		s = s[len(s)-limit+len("…"):]
		return "…" + strings.ToValidUTF8(s, "")
	}
	return s
}

func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit-len("…")]
		return strings.ToValidUTF8(s, "") + "…"
	}
	return s
}
