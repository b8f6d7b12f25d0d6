package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keelson-os/keelson/init/durable"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// The names in the folder of a Config.
const (
	configName  = "config"            // in force
	nextName    = "config.next"       // whole, to be tried at the next boot
	oldName     = "config.old"        // what was in force before the last trial
	failedName  = "config.failed"     // on its way out
	markerName  = "config-trial.json" // a trial is under way
	undoneName  = "config-undo.json"  // why the last trial failed
	markerBytes = 1 << 20             // bounds what is read of either file
)

// Config is the trial of a new configuration. The machine API writes the folder config.next beside config, with the same
// files, renames it to that name when it is whole and synced, and reboots. It is taken into force with the old one kept,
// and goes back to that when the gate fails, or when Tries boots did not get to its end.
//
// A power cut at any point leaves the old or the new configuration in force, after the next Begin.
type Config struct {
	Dir string // holds the folders, on the state partition
	Now func() time.Time

	cut func(where string) // a test's power cut; nil: none
}

// Undone is why a configuration was undone.
type Undone struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Tail   []string  `json:"tail,omitempty"` // last lines of the failed boot
}

// marker is markerName's content.
type marker struct {
	Phase string    `json:"phase"` // one of the phases
	Began time.Time `json:"began"`
	Tries int       `json:"tries"`
	Undone
}

// The phases of a trial: the folders are being renamed, the new configuration is in force and has to prove itself, the
// folders are being renamed back.
const (
	phaseSwap = "swap"
	phaseTry  = "try"
	phaseUndo = "undo"
)

// ConfigOutcome is what Begin found and did.
type ConfigOutcome struct {
	OnTrial bool
	Try     int    // 1 for the first boot of the trial
	Undone  string // why the configuration was undone just now; empty: it was not
}

// Begin is called at boot, before the configuration is read. allowed says whether a new one may be taken now; one that
// is on trial already goes on.
func (c Config) Begin(allowed bool) (ConfigOutcome, error) {
	m, err := c.marker()
	if err != nil {
		return ConfigOutcome{}, err
	}
	if m == nil {
		if !allowed || !c.has(nextName) {
			return ConfigOutcome{}, nil
		}
		if err := errors.Join(c.remove(oldName), c.remove(failedName)); err != nil {
			return ConfigOutcome{}, err
		}
		m = &marker{Phase: phaseSwap, Began: c.now()}
		if err := c.save(m); err != nil {
			return ConfigOutcome{}, err
		}
	}
	if m.Phase == phaseSwap {
		if err := c.swap(); err != nil {
			return ConfigOutcome{}, err
		}
		m.Phase = phaseTry
	}
	if m.Phase == phaseTry && m.Tries >= bootcontrol.Tries {
		m.Phase, m.Undone = phaseUndo, Undone{c.now(), fmt.Sprintf("%d boots, and none proved itself", m.Tries), nil}
	}
	if m.Phase == phaseUndo {
		return ConfigOutcome{Undone: m.Reason}, c.undo(m)
	}
	m.Tries++
	return ConfigOutcome{OnTrial: true, Try: m.Tries}, c.save(m)
}

// Passed ends a trial: the new configuration stays. The old one is kept beside it.
func (c Config) Passed() error { return c.remove(markerName) }

// Undo puts the old configuration back in force. The machine has to reboot, unless nothing has read the new one.
func (c Config) Undo(reason string, tail []string) error {
	m, err := c.marker()
	if err != nil || m == nil {
		return err
	}
	m.Phase, m.Undone = phaseUndo, Undone{c.now(), reason, tail}
	return c.undo(m)
}

// LastUndone returns why the last configuration that was tried was undone, nil if it was not.
func (c Config) LastUndone() (*Undone, error) {
	b, err := c.read(undoneName)
	if b == nil || err != nil {
		return nil, err
	}
	u := &Undone{}
	if err := json.Unmarshal(b, u); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.Dir, undoneName), err)
	}
	return u, nil
}

// swap renames, each step whatever is left of it.
func (c Config) swap() error {
	if c.has(nextName) {
		if c.has(configName) {
			if err := c.rename(configName, oldName); err != nil {
				return err
			}
		}
		if err := c.rename(nextName, configName); err != nil {
			return err
		}
	}
	return c.remove(undoneName) // it is about an older one
}

func (c Config) undo(m *marker) error {
	if err := c.save(m); err != nil {
		return err
	}
	if c.has(oldName) {
		if c.has(configName) {
			if err := c.remove(failedName); err != nil {
				return err
			}
			if err := c.rename(configName, failedName); err != nil {
				return err
			}
		}
		if err := c.rename(oldName, configName); err != nil {
			return err
		}
	}
	if err := c.write(undoneName, m.Undone); err != nil {
		return err
	}
	return errors.Join(c.remove(failedName), c.remove(markerName))
}

func (c Config) marker() (*marker, error) {
	b, err := c.read(markerName)
	if b == nil || err != nil {
		return nil, err
	}
	m := &marker{}
	if err := json.Unmarshal(b, m); err != nil {
		// Nobody writes such a file but us, and whole. The configuration in force stays.
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Join(c.Dir, markerName), err), c.remove(markerName))
	}
	return m, nil
}

func (c Config) save(m *marker) error { return c.write(markerName, m) }

func (c Config) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	c.at("write " + name)
	return durable.WriteFile(filepath.Join(c.Dir, name), append(b, '\n'), 0o600)
}

func (c Config) read(name string) ([]byte, error) {
	b, err := readBounded(filepath.Join(c.Dir, name), markerBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (c Config) has(name string) bool {
	_, err := os.Lstat(filepath.Join(c.Dir, name))
	return err == nil
}

func (c Config) rename(from, to string) error {
	c.at("rename " + from)
	if err := os.Rename(filepath.Join(c.Dir, from), filepath.Join(c.Dir, to)); err != nil {
		return err
	}
	return durable.SyncDir(c.Dir)
}

func (c Config) remove(name string) error {
	if !c.has(name) {
		return nil
	}
	c.at("remove " + name)
	if err := os.RemoveAll(filepath.Join(c.Dir, name)); err != nil {
		return err
	}
	return durable.SyncDir(c.Dir)
}

func (c Config) at(where string) {
	if c.cut != nil {
		c.cut(where)
	}
}

func (c Config) now() time.Time {
	if c.Now != nil {
		return c.Now().UTC()
	}
	return time.Now().UTC().Truncate(time.Second)
}
