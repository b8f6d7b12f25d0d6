package system

import (
	"errors"
	"fmt"
	"time"

	"github.com/keelson-os/keelson/upgrade/blockdev"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// fatWait is how long somebody may have the FAT partition before the boot control does without.
const fatWait = 20 * time.Second

// slots is the boot control of the disk we were booted from. Each call opens the disk anew: the FAT partition may have
// been mounted in between.
type slots struct{ s *system }

var _ bootcontrol.Control = slots{}

// with calls f with the disk's boot control, while nobody else of PID 1 has the FAT partition.
func (x slots) with(f func(*bootcontrol.Node) error) (err error) {
	if x.s.boot.Disk == "" {
		return errors.New("boot control: it is not known which disk we were booted from")
	}
	release, err := x.s.takeFAT(fatWait)
	if err != nil {
		return fmt.Errorf("boot control: %w", err)
	}
	defer release()
	disk, err := blockdev.Open("/dev/" + x.s.boot.Disk)
	if err != nil {
		return fmt.Errorf("boot control: %w", err)
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	n, err := bootcontrol.Open(disk)
	if err != nil {
		return err
	}
	n.StartedBy(bootcontrol.FirmwareOf(bootcontrol.EFIFolder))
	return f(n)
}

// State implements bootcontrol.Control.
func (x slots) State() (s bootcontrol.State, err error) {
	err = x.with(func(n *bootcontrol.Node) error {
		s, err = n.State()
		return err
	})
	return s, err
}

// Arm implements bootcontrol.Control. PID 1 arms nothing: the machine API does.
func (x slots) Arm(slot bootcontrol.Slot) error {
	return fmt.Errorf("arm slot %s: %w by PID 1", slot, errors.ErrUnsupported)
}

// Commit implements bootcontrol.Control.
func (x slots) Commit(slot bootcontrol.Slot) error {
	return x.with(func(n *bootcontrol.Node) error { return n.Commit(slot) })
}

// takeFAT waits until nobody else in PID 1 reads or writes the FAT partition.
func (s *system) takeFAT(limit time.Duration) (release func(), err error) {
	select {
	case s.fat <- struct{}{}:
		return func() { <-s.fat }, nil
	case <-time.After(limit):
		return nil, fmt.Errorf("the FAT partition has been in use for %v", limit)
	}
}
