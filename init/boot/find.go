package boot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keelson-os/keelson/init/block"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/verity"
)

// slots are the slots and the names of their root partitions.
var slots = []struct{ slot, partition string }{{"a", "root-a"}, {"b", "root-b"}}

const (
	// grace is how much longer other disks may take to appear once a disk was found that
	// has slots, but none that matches.
	grace = 5 * time.Second
	// waitingEvery is the time between two lines that say what is awaited.
	waitingEvery = 10 * time.Second
	// firstWaiting is when the first such line comes.
	firstWaiting = 2 * time.Second
)

// found is the root partition of the booted slot.
type found struct {
	slot string
	disk string // name below /sys/block
	part string // device
}

// candidate is what a look at one disk told.
type candidate struct {
	hasESP   bool   // the ESP we were booted from is on it
	hasSlots bool   // it has a root partition of a slot
	match    string // the slot whose root hash is right
	number   int    // its partition
	reason   string // why there is no match, a line per slot
}

// examine looks at one disk. esp is the partition UUID of the ESP, or empty.
func examine(disk io.ReaderAt, name string, length int64, esp string, p verity.Params) candidate {
	t, err := parttable.Read(disk, length)
	if err != nil {
		return candidate{reason: fmt.Sprintf("%s: %v", name, err)}
	}
	c := candidate{}
	_, c.hasESP = t.FindID(esp)
	if esp != "" && !c.hasESP {
		return candidate{reason: fmt.Sprintf("%s: not the disk we were booted from", name)}
	}
	var reasons []string
	for _, s := range slots {
		n, ok := t.Find(s.partition)
		if !ok {
			continue
		}
		c.hasSlots = true
		offset, size := t.Extent(n)
		why := refuse(io.NewSectionReader(disk, offset, size), p)
		if why == "" {
			c.match, c.number = s.slot, n
			return c
		}
		reasons = append(reasons, fmt.Sprintf("slot %s (%s, partition %d of %s): %s", s.slot, s.partition, n, name, why))
	}
	if !c.hasSlots {
		reasons = append(reasons, fmt.Sprintf("%s: no partition root-a or root-b", name))
	}
	c.reason = strings.Join(reasons, "\n")
	return c
}

// refuse says why a partition is not the root that p describes, or "" if it is.
func refuse(part *io.SectionReader, p verity.Params) string {
	if uint64(part.Size()) < p.Size() {
		return fmt.Sprintf("has %d bytes, the root needs %d", part.Size(), p.Size())
	}
	sum, err := p.TopDigest(part)
	switch {
	case err != nil:
		return err.Error()
	case sum == p.RootHash:
		return ""
	case !p.HasSuperblock(part):
		return fmt.Sprintf("holds no root of this size (no hash tree at byte %d)", p.HashOffset)
	}
	return fmt.Sprintf("has root hash %s, expected %s", short(sum), short(p.RootHash))
}

func short(sum [sha256.Size]byte) string { return fmt.Sprintf("%x…", sum[:8]) }

// findRoot waits for a disk with a matching slot until ctx is done. With esp, only the
// disk that has the partition counts, and its answer is final.
func (s *stage) findRoot(ctx context.Context, esp string) (found, error) {
	began := time.Now()
	nextWord := began.Add(firstWaiting)
	var graceEnd time.Time
	for {
		disks, err := block.Disks("/sys")
		if err != nil {
			return found{}, err
		}
		var reasons []string
		refused := false
		for _, d := range disks {
			c, err := s.examineDisk(d, esp)
			if err != nil {
				reasons = append(reasons, err.Error())
				continue
			}
			if c.match != "" {
				part, err := partitionDevice(d, c.number)
				if err == nil {
					return found{c.match, d.Name, part}, nil
				}
				reasons = append(reasons, err.Error())
				continue
			}
			reasons = append(reasons, c.reason)
			refused = refused || c.hasSlots
			if esp != "" && c.hasSlots {
				return found{}, noMatch(c.reason)
			}
		}
		now := time.Now()
		if refused && graceEnd.IsZero() {
			graceEnd = now.Add(grace)
		}
		if !graceEnd.IsZero() && now.After(graceEnd) {
			return found{}, noMatch(strings.Join(reasons, "\n"))
		}
		if ctx.Err() != nil {
			return found{}, noDisk(esp, reasons)
		}
		if now.After(nextWord) {
			s.con.Printf("waiting for %s (%d disks so far, %.0f s)", wanted(esp), len(disks), now.Sub(began).Seconds())
			nextWord = now.Add(waitingEvery)
		}
		until := nextWord
		if !graceEnd.IsZero() && graceEnd.Before(until) {
			until = graceEnd
		}
		s.nextBlockEvent(ctx, until)
	}
}

func (s *stage) examineDisk(d block.Disk, esp string) (candidate, error) {
	if d.SectorSize != parttable.SectorSize {
		return candidate{reason: fmt.Sprintf("%s: has sectors of %d bytes; the image is for sectors of %d bytes", d.Dev, d.SectorSize, parttable.SectorSize)}, nil
	}
	f, err := os.Open(d.Dev)
	if err != nil {
		return candidate{}, err
	}
	defer f.Close()
	return examine(f, d.Dev, d.Size, esp, s.params), nil
}

// partitionDevice returns the device of a partition. The kernel does not look at the
// backup table, so when only that is valid it is written back first.
func partitionDevice(d block.Disk, number int) (string, error) {
	part, err := block.Partition("/sys", d.Name, number)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return part, err
	}
	f, err := os.OpenFile(d.Dev, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	t, err := parttable.Read(f, d.Size)
	if err != nil {
		return "", err
	}
	if t.FromBackup() {
		if err := t.Write(f); err != nil {
			return "", err
		}
		if err := block.Reread(f); err != nil {
			return "", err
		}
	}
	return block.Partition("/sys", d.Name, number)
}

// nextBlockEvent loads modules for what appears, and returns when a disk or partition
// did, at the latest at until.
func (s *stage) nextBlockEvent(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		e, err := s.events.Receive(ctx)
		if err != nil {
			return // the time is up, or events were lost: look again
		}
		if a := e.Env["MODALIAS"]; a != "" && e.Action == "add" {
			s.loader.Load(a) // unknown aliases are the rule here: only storage modules are on board
		}
		if e.Env["SUBSYSTEM"] == "block" {
			return
		}
	}
}

func wanted(esp string) string {
	if esp == "" {
		return "a disk with a Keelson root"
	}
	return "the disk we were booted from (partition UUID " + esp + ")"
}

func noMatch(reasons string) error {
	return step.Advise(fmt.Errorf("root refused: no slot has the root that this boot image was built with\n%s", reasons),
		"write the image to the disk again; if this comes back, the disk is failing: replace it")
}

func noDisk(esp string, reasons []string) error {
	text := "the machine has no disk that the kernel knows"
	if len(reasons) > 0 {
		text = strings.Join(reasons, "\n")
	}
	return step.Advise(fmt.Errorf("%s did not appear within %v\n%s", wanted(esp), diskWait, text),
		"check that the disk is connected and its controller is one of the board's (boards/…/board.yaml)")
}
