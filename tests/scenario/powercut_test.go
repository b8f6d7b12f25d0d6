package scenario

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

const (
	// cuts is how many power cuts are looked at, and realCuts how many of them are booted.
	cuts     = 200
	realCuts = 10
	// lastEntries of the record get a third of the cuts: there the boot state changes.
	lastEntries = 16
)

// cutSeed makes the cuts the same in every run.
var cutSeed = [32]byte{'k', 'e', 'e', 'l'}

// powerCuts records every write of an upgrade to the disk, from the command to the moment before the machine resets. At 200 random
// points the power is cut: of the writes since the last flush a random subset has reached the disk, of one of them only some bytes.
// Read as the firmware and the boot loader read the disk, each boots the old or the new system, whole. Ten of them are booted for real.
func powerCuts(t *testing.T, l *harness.Lab, change func(*qemu.Config), file string, boots func(io.ReaderAt, int64) (firmware.Report, error)) {
	root, hash := artefact(t, file)
	ctx, n := storyOf(t, l, func(c *qemu.Config) {
		c.RecordWrites = true
		change(c)
	})
	size := n.Config().DiskSize
	booted(t, ctx, n)
	before, err := n.Writes()
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	limit, cancel := within(ctx, bootLimit, "the upgrade")
	defer cancel()
	// Until the new system's first boot has begun to write.
	if out, err := n.Keelson(limit, "upgrade", file, "--no-reboot"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	log, err := n.Writes()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first := len(before.Entries)
	if len(log.Entries)-first < 100 {
		t.Fatalf("the record has %d entries of the upgrade, want hundreds", len(log.Entries)-first)
	}
	image, err := os.Open(l.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()

	p := partitionsOf(t, l)
	for _, e := range log.Entries[first:] {
		if a := p["root-a"]; e.Kind != qemu.KindFlush && e.Offset < a.Offset+a.Size && e.Offset+e.Length > a.Offset {
			t.Fatalf("the upgrade wrote to the booted slot's root: %+v", e)
		}
	}
	random := rand.New(rand.NewChaCha8(cutSeed))
	var at []int
	for i := range cuts - 1 {
		from := first
		if i%3 == 0 {
			from = len(log.Entries) - lastEntries
		}
		at = append(at, from+random.IntN(len(log.Entries)-from))
	}
	at = append(at, len(log.Entries)) // all of it
	slices.Sort(at)
	r := &replay{base: image, size: size, log: log, sectors: map[int64]int64{}}
	old, new := 0, 0
	real := map[int]bool{}
	for len(real) < realCuts-1 {
		real[random.IntN(cuts-1)] = true
	}
	real[cuts-1] = true
	machines := make(chan struct{}, 2) // at a time
	var booting sync.WaitGroup
	defer booting.Wait()
	for i, end := range at {
		d, err := r.cut(end, random)
		if err != nil {
			t.Fatal(err)
		}
		report, err := boots(d, size)
		faults := disk.Lasting(report.Faults)
		if err != nil || len(faults) > 0 {
			t.Fatalf("cut %d at entry %d: %v, %q\n%s", i, end, err, faults, report)
		}
		booted := roothash(report.Cmdline)
		switch booted {
		case l.Info.RootHash:
			old++
		case hash:
			new++
			b := p["root-b"]
			if err := sameBytes(io.NewSectionReader(d, b.Offset, root.Size()), root); err != nil {
				t.Fatalf("cut %d at entry %d boots the new system, whose root is not whole: %v", i, end, err)
			}
		default:
			t.Fatalf("cut %d at entry %d boots root hash %s, want %s or %s\n%s", i, end, booted, l.Info.RootHash, hash, report)
		}
		if real[i] {
			dir := scratch(t, fmt.Sprintf("cut-%d-", i))
			says := "Keelson " + l.Info.Version + ", slot a"
			if booted == hash {
				says = "Keelson 0.2.0, slot b"
			}
			own := *l
			own.Image = filepath.Join(dir, "disk.img")
			if err := d.save(l.Image, own.Image, size); err != nil {
				t.Fatal(err)
			}
			machines <- struct{}{}
			booting.Go(func() {
				defer func() { <-machines }()
				t.Run(fmt.Sprintf("boot of cut %d", i), func(t *testing.T) { bootCut(t, ctx, &own, change, dir, says) })
			})
		}
	}
	booting.Wait()
	t.Logf("%d cuts among %d entries: %d boot the old system, %d the new one; %d were booted for real", cuts, len(log.Entries)-first, old, new, len(real))
	if old == 0 || new == 0 {
		t.Errorf("%d cuts boot the old system and %d the new one, want some of each", old, new)
	}
}

// artefact returns the root in a bundle and its hash.
func artefact(t *testing.T, file string) (*io.SectionReader, string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	h, err := bundle.ReadHeader(f, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range h.Manifest.Artefacts {
		if a.Name == "root" {
			return io.NewSectionReader(f, a.Offset, a.Size), h.Manifest.RootHash
		}
	}
	t.Fatal("the bundle has no root")
	return nil, ""
}

func partitionsOf(t *testing.T, l *harness.Lab) map[string]harness.Partition {
	t.Helper()
	out := map[string]harness.Partition{}
	for _, p := range l.Info.Partitions {
		out[p.Name] = p
	}
	return out
}

func roothash(cmdline string) string {
	for _, w := range strings.Fields(cmdline) {
		if h, ok := strings.CutPrefix(w, "roothash="); ok {
			if _, err := hex.DecodeString(h); err == nil {
				return h
			}
		}
	}
	return ""
}

func sameBytes(a, b io.ReadSeeker) error {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return err
	}
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(x)) {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return fmt.Errorf("differs in the mebibyte at byte %d", at)
		}
		if errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF) {
			return nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
	}
}

const sector = 512

// replay is a disk as it is after the first entries of a record. Cuts are asked for in rising order.
type replay struct {
	base    io.ReaderAt // shorter than the disk: the rest is zeros
	size    int64
	log     *qemu.WriteLog
	done    int             // entries that are on the medium for sure
	sectors map[int64]int64 // number of a sector on the disk → where its bytes are in the log
}

// cutDisk is the disk after a power cut. It is valid until the next one.
type cutDisk struct {
	r       *replay
	sectors map[int64][]byte // over r's
}

// cut returns the disk when the power is cut behind entry end-1. What was written since the last flush is there or not, sector by sector,
// and one of these sectors has some bytes of each.
func (r *replay) cut(end int, random *rand.Rand) (*cutDisk, error) {
	flushed := r.done
	for i := r.done; i < end; i++ {
		if r.log.Entries[i].Kind == qemu.KindFlush {
			flushed = i + 1
		}
	}
	apply := func(e qemu.Written, do func(number, at int64) error) error {
		for s := int64(0); e.Kind == qemu.KindWrite && s < e.Length; s += sector {
			if err := do((e.Offset+s)/sector, e.Data+s); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range r.log.Entries[r.done:flushed] {
		if err := apply(e, func(number, at int64) error { r.sectors[number] = at; return nil }); err != nil {
			return nil, err
		}
	}
	r.done = flushed
	d := &cutDisk{r, map[int64][]byte{}}
	var loose []int64
	for _, e := range r.log.Entries[flushed:end] {
		all := e.FUA || random.IntN(4) == 0
		err := apply(e, func(number, at int64) error {
			if !all && random.IntN(2) == 0 {
				return nil
			}
			b := make([]byte, sector)
			if _, err := r.log.ReadAt(b, at); err != nil {
				return err
			}
			d.sectors[number] = b
			if !e.FUA {
				loose = append(loose, number)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(loose) > 0 {
		number := loose[random.IntN(len(loose))]
		before := make([]byte, sector)
		if err := r.read(before, number); err != nil {
			return nil, err
		}
		from := random.IntN(sector)
		to := from + random.IntN(sector-from) + 1
		copy(d.sectors[number][from:to], before[from:to])
	}
	return d, nil
}

// read reads one sector.
func (r *replay) read(p []byte, number int64) error {
	if at, ok := r.sectors[number]; ok {
		_, err := r.log.ReadAt(p, at)
		return err
	}
	n, err := r.base.ReadAt(p, number*sector)
	clear(p[n:])
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ReadAt reads the disk.
func (d *cutDisk) ReadAt(p []byte, off int64) (int, error) {
	b := make([]byte, sector)
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= d.r.size {
			return n, io.EOF
		}
		number := at / sector
		s, ok := d.sectors[number]
		if !ok {
			if err := d.r.read(b, number); err != nil {
				return n, err
			}
			s = b
		}
		n += copy(p[n:], s[at%sector:])
	}
	return n, nil
}

// bootCut boots a disk after a power cut, the lab's image, until PID 1, which runs from a root that dm-verity checks, says which system it is.
func bootCut(t *testing.T, ctx context.Context, l *harness.Lab, change func(*qemu.Config), dir, says string) {
	t.Helper()
	limit, cancel := within(ctx, 5*time.Minute, "the boot after a power cut")
	defer cancel()
	n, err := harness.NewNode(l, filepath.Join(dir, "machine"), change)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := n.Start(limit); err != nil {
		t.Fatal(err)
	}
	waitMessage(t, limit, n, says)
}

// save writes the disk over a copy of the image that it was made from.
func (d *cutDisk) save(image, file string, size int64) (err error) {
	if _, err := harness.Check("cp", "--sparse=always", image, file); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	b := make([]byte, sector)
	for number := range d.r.sectors {
		if err := d.r.read(b, number); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, number*sector); err != nil {
			return err
		}
	}
	for number, s := range d.sectors {
		if _, err := f.WriteAt(s, number*sector); err != nil {
			return err
		}
	}
	return nil
}
