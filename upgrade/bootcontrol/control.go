package bootcontrol

import (
	"errors"
	"fmt"
	"io"

	"github.com/keelson-os/keelson/upgrade/fat"
)

// State implements Control.
func (n *Node) State() (State, error) {
	var all []State
	for _, l := range n.loaders {
		s, err := l.state()
		if err != nil {
			return State{}, err
		}
		all = append(all, s)
	}
	s := all[0]
	if len(all) == 1 || n.firmware == UEFIFirmware {
		return s, nil
	}
	other := all[1]
	if n.firmware == BIOSFirmware {
		return other, nil
	}
	if s.Trial != "" && s.Trial == other.Trial && s.Default == other.Default && other.TriesLeft < s.TriesLeft {
		s.TriesLeft, s.TriesDone = other.TriesLeft, other.TriesDone
	}
	return s, nil
}

// Arm implements Control. A trial that is armed already is called off first, so that a cut leaves the old trial, none or the new one.
func (n *Node) Arm(slot Slot) error {
	if err := slot.Valid(); err != nil {
		return fmt.Errorf("arm: %w", err)
	}
	v, err := n.mend()
	if err != nil {
		return err
	}
	for _, l := range n.loaders {
		s, err := l.state()
		if err != nil {
			return err
		}
		if s.Default == slot {
			return fmt.Errorf("arm slot %s: %w", slot, ErrInUse)
		}
	}
	if err := n.files.complete(v, slot); err != nil {
		return fmt.Errorf("arm slot %s: %w", slot, err)
	}
	for _, l := range n.loaders {
		s, err := l.state()
		if err == nil && s.Trial != "" {
			err = l.commit(s.Default)
		}
		if err == nil {
			err = l.arm(slot)
		}
		if err != nil {
			return fmt.Errorf("arm slot %s: %w", slot, err)
		}
	}
	return nil
}

// Commit implements Control. On a disk with two boot loaders it also makes them agree, after a cut between the two.
func (n *Node) Commit(slot Slot) error {
	if err := slot.Valid(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	checked := false
	for _, l := range n.loaders {
		done, err := l.settled(slot)
		if err == nil && !done && !checked {
			v, verr := n.mend()
			if err = verr; err == nil {
				err = n.files.complete(v, slot)
			}
			checked = true
		}
		if err == nil && !done {
			err = l.commit(slot)
		}
		if err != nil {
			return fmt.Errorf("commit slot %s: %w", slot, err)
		}
	}
	return nil
}

// Count counts a try where the boot loader cannot (Counts): the default is the next to boot again, the trial stays in
// State with no tries left. It is PID 1's first act in a trial; calling it again, without a trial or elsewhere changes nothing.
func (n *Node) Count() error {
	for _, l := range n.loaders {
		if c, ok := l.(interface{ count() error }); ok {
			if err := c.count(); err != nil {
				return fmt.Errorf("count the try: %w", err)
			}
		}
	}
	return nil
}

// BootFiles returns the boot files of a slot, by name.
func (n *Node) BootFiles(slot Slot) ([]File, error) {
	v, err := n.volume()
	if err != nil {
		return nil, err
	}
	return n.files.list(v, slot)
}

// OpenBootFile opens a slot's boot file. It stays readable, and its size the same, until the file is removed or replaced.
// fs.ErrNotExist when the slot has none of that name.
func (n *Node) OpenBootFile(slot Slot, name string) (io.ReaderAt, int64, error) {
	v, err := n.volume()
	if err != nil {
		return nil, 0, err
	}
	path, err := n.files.path(v, slot, name)
	if err != nil {
		return nil, 0, err
	}
	f, err := v.OpenFile(path)
	if err != nil {
		return nil, 0, err
	}
	return f, f.Size(), nil
}

// RemoveBootFiles removes all boot files of a slot, and returns when they are gone from the medium. ErrInUse.
func (n *Node) RemoveBootFiles(slot Slot) error {
	v, err := n.change(slot)
	if err == nil {
		err = n.files.remove(v, slot)
	}
	if err != nil {
		return fmt.Errorf("remove the boot files of slot %s: %w", slot, err)
	}
	return nil
}

// WriteBootFile makes or replaces a boot file of a slot with the size bytes of r, and returns when it is on the medium. A
// power cut leaves the old file or the new one; while it is written there is room needed for both.
// No boot loader looks at the slot before Arm.
// Errors: ErrInUse, fat.ErrFull before anything is written, io.ErrUnexpectedEOF when r is shorter, those of r and the disk.
func (n *Node) WriteBootFile(slot Slot, name string, size int64, r io.Reader) error {
	v, err := n.change(slot)
	if err == nil {
		err = n.files.write(v, slot, name, size, r)
	}
	if err != nil {
		return fmt.Errorf("write boot file %s of slot %s: %w", name, slot, err)
	}
	return nil
}

// Room returns the bytes that are free for boot files.
func (n *Node) Room() (int64, error) {
	v, err := n.volume()
	if err != nil {
		return 0, err
	}
	return v.Free(), nil
}

// change opens the FAT partition to change the boot files of a slot that nothing starts.
func (n *Node) change(slot Slot) (*fat.Volume, error) {
	if err := slot.Valid(); err != nil {
		return nil, err
	}
	for _, l := range n.loaders {
		s, err := l.state()
		if err != nil {
			return nil, err
		}
		if s.Default == slot || s.Trial == slot {
			return nil, ErrInUse
		}
	}
	return n.mend()
}

// Invalidate forgets what the disk keeps in memory of bytes [off, off+length), if it can.
func (n *Node) Invalidate(off, length int64) error {
	i, ok := n.disk.(Invalidator)
	if !ok {
		return nil
	}
	if err := i.Invalidate(off, length); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
