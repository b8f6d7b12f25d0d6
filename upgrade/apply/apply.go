package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// System is the machine that is upgraded, and what runs on it.
type System struct {
	// Disk is not written to by anybody else meanwhile, and its FAT partition is not mounted.
	Disk bootcontrol.Disk
	// Firmware is what started the machine: a disk for UEFI and BIOS has a boot state of each, and a power cut may have come
	// between the two. Only boards with both need it.
	Firmware      bootcontrol.Firmware
	Booted        bootcontrol.Slot // the running slot: nothing of it is ever written
	Board         string
	Kubernetes    string // "v1.37.2"
	MinimumSerial int64  // that a bundle must have
	Keys          []bundle.PublicKey
}

// Options of Run.
type Options struct {
	// SHA256 of the whole bundle file, 64 hexadecimal digits, or empty. It is compared when all is written, with what is on
	// the disk then: only that has been read as a whole. The signature is checked before anything is written in any case.
	SHA256 string
	// Progress is called about once a MiB, from Run's goroutine; nil: nobody wants to know.
	Progress func(Progress)
}

// Phase is a part of Run.
type Phase string

// The phases, in their order.
const (
	PhaseCompare   Phase = "compare"    // what is on the disk already
	PhaseRoot      Phase = "root"       // write the root
	PhaseVerify    Phase = "verify"     // read it back
	PhaseBootFiles Phase = "boot files" // write them, and read them back
)

// Progress is how far Run has come. All numbers are bytes.
type Progress struct {
	Phase       Phase
	Done, Total int64 // of the phase
	Fetched     int64 // read from the source until now
	Written     int64 // written to the disk until now
}

// Result is what Run did.
type Result struct {
	Manifest bundle.Manifest
	Slot     bootcontrol.Slot // now holds the bundle's system
	// BytesTotal is the bundle's size. BytesFetched of them were read from the source, BytesReused, the rest, were on the disk.
	BytesTotal, BytesFetched, BytesReused int64
	BytesWritten                          int64 // to the disk
	Duration                              time.Duration
}

// Errors of Run and Arm, besides those of Check, of the source and of package bundle, whose ErrContent means: fetch or copy the bundle again.
var (
	ErrBusy = errors.New("another upgrade is being written: wait until it has ended")
	// ErrTrial says that the running slot is not the one that boots for good: it is on trial, or the default one could not be started.
	ErrTrial = errors.New("the running slot is not committed")
	// ErrSame says that the bundle has the root that runs.
	ErrSame = errors.New("the bundle is the system that runs already")
	// ErrChecksum says that the bundle is not the file that Options.SHA256 is of.
	ErrChecksum = errors.New("the bundle has another SHA-256")
	// ErrReadBack says that the disk does not give back what was written to it.
	ErrReadBack = errors.New("the disk does not hold what was written")
)

// Run writes the bundle's system to the slot that is not running, and reads it back. It does not arm it. Only one Run at once may be
// made: hold Lock. After an error, or a power cut, the running slot is as it was and boots; Run again goes on from there.
// Errors: those above, of Check, of src and of package bundle; ctx.Err. Nothing was written when it is one of Check's or ErrSame.
func Run(ctx context.Context, src Source, s System, o Options) (*Result, error) {
	start := time.Now()
	counted := &counter{Source: src}
	h, err := bundle.ReadHeader(counted, src.Size())
	if err != nil {
		return nil, err
	}
	node, err := s.node()
	if err != nil {
		return nil, err
	}
	if err := check(h, s, node); err != nil {
		return nil, err
	}
	if err := checkSum(o.SHA256); err != nil {
		return nil, err
	}
	if err := settled(node, s.Booted); err != nil {
		return nil, err
	}
	j, err := plan(h, s, node, counted, o)
	if err != nil {
		return nil, err
	}
	if err := j.scan(ctx); err != nil {
		return nil, err
	}
	// Calls off a trial, and makes two boot loaders agree; else it writes nothing.
	if err := node.Commit(s.Booted); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{j.clean, j.writeRoot, j.verifyRoot, j.writeFiles, j.verifyWhole} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return &Result{
		Manifest: h.Manifest, Slot: j.slot,
		BytesTotal: src.Size(), BytesFetched: counted.bytes, BytesReused: max(0, src.Size()-counted.bytes), BytesWritten: j.written,
		Duration: time.Since(start),
	}, nil
}

// node opens the disk.
func (s System) node() (*bootcontrol.Node, error) {
	if err := s.Booted.Valid(); err != nil {
		return nil, fmt.Errorf("running slot: %w", err)
	}
	n, err := bootcontrol.Open(s.Disk)
	if err != nil {
		return nil, err
	}
	n.StartedBy(s.Firmware)
	return n, nil
}

// settled returns nil if the running slot is what boots for good. Errors: ErrTrial.
func settled(node *bootcontrol.Node, booted bootcontrol.Slot) error {
	state, err := node.State()
	if err != nil {
		return err
	}
	if state.Default != booted {
		return fmt.Errorf("%w: slot %s runs, slot %s is the default: it is on trial, or the default could not be started; "+
			"wait until the running slot is marked good (keelson status shows it)", ErrTrial, booted, state.Default)
	}
	return nil
}

// Arm makes the next boots a trial of what Run wrote. It is the last step: after it, start the machine anew.
// Errors: ErrTrial; bootcontrol.ErrNotComplete when the slot is not what r says.
func Arm(s System, r *Result) error {
	node, err := s.node()
	if err != nil {
		return err
	}
	if r.Slot != s.Booted.Other() {
		return fmt.Errorf("arm slot %s: slot %s runs", r.Slot, s.Booted)
	}
	if err := settled(node, s.Booted); err != nil {
		return err
	}
	there, err := node.BootFiles(r.Slot)
	if err != nil {
		return err
	}
	if missing := differ(r.Manifest.Artefacts, there); missing != "" {
		return fmt.Errorf("arm slot %s: %w: %s", r.Slot, bootcontrol.ErrNotComplete, missing)
	}
	return node.Arm(r.Slot)
}

// counter counts what is read from a source.
type counter struct {
	Source
	bytes int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Source.ReadAt(p, off)
	c.bytes += int64(n)
	return n, err
}
