package bootcontrol

import (
	"bytes"
	"fmt"

	"github.com/keelson-os/keelson/upgrade/bootcontrol/pislot"
)

// slotText is the file with which the Raspberry Pi's firmware is told the slot.
const slotText = "slot.txt"

// piLoader is the Raspberry Pi's firmware.
type piLoader struct{ n *Node }

func (l piLoader) read() (pislot.Text, []byte, error) {
	v, err := l.n.volume()
	if err != nil {
		return pislot.Text{}, nil, err
	}
	b, err := v.ReadFile(slotText)
	if err != nil {
		return pislot.Text{}, nil, fmt.Errorf("boot control: %w", err)
	}
	t, err := pislot.Parse(b)
	if err != nil {
		return pislot.Text{}, nil, fmt.Errorf("boot control: %w", err)
	}
	if t.Prefix != t.Default && t.Prefix != t.Trial {
		t.Default, t.Trial = t.Prefix, "" // in the middle of a commit: this is what starts
	}
	return t, b, nil
}

// set writes slot.txt in place, in steps that change one byte each.
func (l piLoader) set(steps ...func(*pislot.Text)) error {
	t, b, err := l.read()
	if err != nil {
		return err
	}
	v, err := l.n.mend()
	if err != nil {
		return err
	}
	write := func() error {
		now := t.Bytes()
		if bytes.Equal(now, b) {
			return nil
		}
		if len(b) != pislot.Size {
			return fmt.Errorf("boot control: %s has %d bytes, want %d, one sector", slotText, len(b), pislot.Size)
		}
		b = now
		return v.Overwrite(slotText, 0, now)
	}
	// One that the builder or somebody else wrote may have other comments.
	for _, step := range append([]func(*pislot.Text){func(*pislot.Text) {}}, steps...) {
		step(&t)
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

func (l piLoader) state() (State, error) {
	t, _, err := l.read()
	if err != nil {
		return State{}, err
	}
	s := State{Default: Slot(t.Default)}
	if t.Trial == "" || t.Trial == t.Default {
		return s, nil
	}
	s.Trial, s.TriesDone = Slot(t.Trial), 1
	if t.Prefix == t.Trial {
		s.TriesLeft, s.TriesDone = 1, 0
	}
	return s, nil
}

func (l piLoader) arm(slot Slot) error {
	return l.set(
		func(t *pislot.Text) { t.Trial = string(slot) },
		func(t *pislot.Text) { t.Prefix = string(slot) },
	)
}

func (l piLoader) commit(slot Slot) error {
	return l.set(
		func(t *pislot.Text) { t.Prefix = string(slot) },
		func(t *pislot.Text) { t.Default = string(slot) },
		func(t *pislot.Text) { t.Trial = "" },
	)
}

func (l piLoader) settled(slot Slot) (bool, error) {
	t, _, err := l.read()
	return t.Prefix == string(slot) && t.Default == string(slot) && t.Trial == "", err
}

func (l piLoader) count() error {
	t, _, err := l.read()
	if err != nil || t.Trial == "" || t.Trial == t.Default || t.Prefix != t.Trial {
		return err
	}
	return l.set(func(t *pislot.Text) { t.Prefix = t.Default })
}
