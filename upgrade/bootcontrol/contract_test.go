package bootcontrol_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/powercut"
	"github.com/keelson-os/keelson/tests/reftool"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

const a, b = bootcontrol.A, bootcontrol.B

// bench is a small disk of one boot chain: system one in slot a, which is committed, system two for slot b. Whether the right one
// boots is judged by the readers in tests/firmware.
type bench struct {
	t        *testing.T
	chain    smallsystem.Chain
	one, two *smallsystem.System
	base     []byte // the disk; slot b has its root, and nothing else
}

func eachChain(t *testing.T, f func(t *testing.T, w *bench)) {
	for _, c := range smallsystem.Chains {
		t.Run(string(c), func(t *testing.T) {
			w := &bench{t: t, chain: c, one: smallsystem.New(t, c, "one", smallsystem.Plain())}
			blocks := smallsystem.Plain()
			blocks[7], blocks[150] = 1007, 1150
			w.two = smallsystem.New(t, c, "two", blocks)
			w.base = smallsystem.Disk(t, c, w.one)
			copy(w.base[smallsystem.RootB:], w.two.Root)
			f(t, w)
		})
	}
}

// live is a disk in memory that boot loaders and the node change.
type live struct{ *disk.Overlay }

func newLive(r io.ReaderAt) live { return live{disk.NewOverlay(r)} }

func (live) Sync() error { return nil }
func (live) Size() int64 { return smallsystem.Size }

func (w *bench) open(d bootcontrol.Disk) *bootcontrol.Node {
	w.t.Helper()
	n, err := bootcontrol.Open(d)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *bench) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// install writes the boot files of a system to a slot.
func (w *bench) install(d bootcontrol.Disk, slot bootcontrol.Slot, s *smallsystem.System) {
	w.t.Helper()
	n := w.open(d)
	for _, name := range slices.Sorted(maps.Keys(s.Boot)) {
		w.must(n.WriteBootFile(slot, name, int64(len(s.Boot[name])), bytes.NewReader(s.Boot[name])))
	}
}

// ready is a disk with system two complete in slot b, not armed.
func (w *bench) ready() live {
	w.t.Helper()
	d := newLive(bytes.NewReader(w.base))
	w.install(d, b, w.two)
	return d
}

// boot starts the disk once, and keeps the counted try in it. On a chain that cannot count, PID 1 does.
func (w *bench) boot(f smallsystem.Firmware, d live) string {
	w.t.Helper()
	s, err := smallsystem.Boots(f, d.Overlay, w.one, w.two)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := w.open(d); !n.Counts() {
		w.must(n.Count())
	}
	return s.Name
}

// next says which system the disk boots, without starting it.
func (w *bench) next(f smallsystem.Firmware, d io.ReaderAt) (string, error) {
	s, err := smallsystem.Boots(f, disk.NewOverlay(d), w.one, w.two)
	if err != nil {
		return "", err
	}
	return s.Name, nil
}

// boots starts the disk again and again.
func (w *bench) boots(f smallsystem.Firmware, d live, want ...string) {
	w.t.Helper()
	var got []string
	for range want {
		got = append(got, w.boot(f, d))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("%s boots %v, want %v", f.Name, got, want)
	}
}

// firmware is what a Node is told of a reader.
func firmware(f smallsystem.Firmware) bootcontrol.Firmware {
	if f.Name == "BIOS" {
		return bootcontrol.BIOSFirmware
	}
	return bootcontrol.UEFIFirmware
}

func (w *bench) state(f smallsystem.Firmware, d bootcontrol.Disk, want bootcontrol.State) {
	w.t.Helper()
	n := w.open(d)
	n.StartedBy(firmware(f))
	if got, err := n.State(); err != nil || got != want {
		w.t.Errorf("%s: State = %+v, %v, want %+v", f.Name, got, err, want)
	}
}

// tries is how many boots a trial has on the chain.
func (w *bench) tries() int {
	if w.chain == smallsystem.Pi {
		return 1
	}
	return bootcontrol.Tries
}

// fsck lets the reference checker look at the FAT partition.
func (w *bench) fsck(what string, d io.ReaderAt) {
	w.t.Helper()
	part := make([]byte, smallsystem.ESPSize)
	if _, err := d.ReadAt(part, smallsystem.ESP); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "fat")
	w.must(os.WriteFile(file, part, 0o600))
	if out, err := exec.Command(reftool.Need(w.t, "fsck.vfat", "dosfstools"), "-n", file).CombinedOutput(); err != nil {
		w.t.Errorf("%s: fsck.vfat -n: %v\n%s", what, err, out)
	}
	w.must(os.Remove(file))
}

func TestANewDiskHasSlotACommitted(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		d := powercut.Record(bytes.NewReader(w.base), smallsystem.Size)
		n := w.open(d)
		if string(n.Chain()) != string(w.chain) || n.Counts() != (w.chain != smallsystem.Pi) {
			t.Errorf("chain %s, counts %v", n.Chain(), n.Counts())
		}
		for slot, want := range map[bootcontrol.Slot]int64{a: smallsystem.RootA, b: smallsystem.RootB} {
			if off, size := n.Root(slot); off != want || size != smallsystem.RootSize {
				t.Errorf("Root(%s) = %d, %d, want %d, %d", slot, off, size, want, smallsystem.RootSize)
			}
		}
		for _, f := range w.chain.Firmwares() {
			w.state(f, d, bootcontrol.State{Default: a})
		}
		files, err := n.BootFiles(a)
		got := map[string]int64{}
		for _, f := range files {
			got[f.Name] = f.Size
		}
		want := map[string]int64{}
		for name, data := range w.one.Boot {
			want[name] = int64(len(data))
		}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("BootFiles(a) = %v, %v, want %v", got, err, want)
		}
		if files, err := n.BootFiles(b); err != nil || len(files) > 0 {
			t.Errorf("BootFiles(b) = %v, %v, want none", files, err)
		}
		for name, data := range w.one.Boot {
			r, size, err := n.OpenBootFile(a, name)
			if err != nil || size != int64(len(data)) {
				t.Fatalf("OpenBootFile(%s) = %d bytes, %v", name, size, err)
			}
			if got, err := io.ReadAll(io.NewSectionReader(r, 0, size)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("OpenBootFile(%s): %d bytes, %v, want %d", name, len(got), err, len(data))
			}
		}
		for _, name := range []string{"none", "../slot-a/linux", "/linux", ""} {
			if _, _, err := n.OpenBootFile(b, name); err == nil {
				t.Errorf("OpenBootFile(b, %q) = nil, want an error", name)
			}
		}
		// All that must be refused, and what changes nothing.
		w.must(n.Commit(a))
		w.must(n.Count())
		for what, c := range map[string]struct{ err, want error }{
			"Arm(a)":             {n.Arm(a), bootcontrol.ErrInUse},
			"Arm(b)":             {n.Arm(b), bootcontrol.ErrNotComplete},
			"Commit(b)":          {n.Commit(b), bootcontrol.ErrNotComplete},
			"RemoveBootFiles(a)": {n.RemoveBootFiles(a), bootcontrol.ErrInUse},
			"WriteBootFile(a)":   {n.WriteBootFile(a, slices.Sorted(maps.Keys(w.one.Boot))[0], 1, strings.NewReader("x")), bootcontrol.ErrInUse},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s = %v, want %v", what, c.err, c.want)
			}
		}
		if n.Arm("c") == nil || n.Commit("") == nil || n.RemoveBootFiles("c") == nil {
			t.Error("slots that are none are taken")
		}
		if d.Operations() > 0 {
			t.Errorf("%d writes, the first is %s; want none", d.Operations(), d.Operation(0))
		}
	})
}

func TestBootFilesOfAnIdleSlotDoNotBoot(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		d := w.ready()
		w.fsck("after writing boot files", d)
		n := w.open(d)
		for name, data := range w.two.Boot {
			r, size, err := n.OpenBootFile(b, name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(io.NewSectionReader(r, 0, size)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(data))
			}
		}
		for _, f := range w.chain.Firmwares() {
			w.state(f, d, bootcontrol.State{Default: a})
			w.boots(f, d, "one", "one")
		}
		name := slices.Sorted(maps.Keys(w.two.Boot))[0]
		if err := n.WriteBootFile(b, name, 10, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("WriteBootFile of a short reader = %v, want io.ErrUnexpectedEOF", err)
		}
		if _, size, err := n.OpenBootFile(b, name); err != nil || size != int64(len(w.two.Boot[name])) {
			t.Errorf("after a short write %s has %d bytes, %v; want the old %d", name, size, err, len(w.two.Boot[name]))
		}
		w.must(n.RemoveBootFiles(b))
		w.must(n.RemoveBootFiles(b))
		if files, err := n.BootFiles(b); err != nil || len(files) > 0 {
			t.Errorf("BootFiles after their removal = %v, %v", files, err)
		}
		w.fsck("after removing boot files", d)
		if _, _, err := n.OpenBootFile(b, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OpenBootFile of a removed file = %v, want fs.ErrNotExist", err)
		}
		if room, err := n.Room(); err != nil || room < 16<<20 {
			t.Errorf("Room = %d, %v, want most of %d", room, err, smallsystem.ESPSize)
		}
	})
}

func TestATrialThatFailsEndsInTheDefault(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		for _, f := range w.chain.Firmwares() {
			d := w.ready()
			w.must(w.open(d).Arm(b))
			w.fsck("after Arm", d)
			tries := w.tries()
			for i := range tries {
				w.state(f, d, bootcontrol.State{Default: a, Trial: b, TriesLeft: tries - i, TriesDone: i})
				w.boots(f, d, "two")
			}
			w.state(f, d, bootcontrol.State{Default: a, Trial: b, TriesDone: tries})
			w.boots(f, d, "one", "one", "one")
			n := w.open(d)
			if err := n.RemoveBootFiles(b); !errors.Is(err, bootcontrol.ErrInUse) {
				t.Errorf("RemoveBootFiles before the trial is ended = %v, want ErrInUse", err)
			}
			w.must(n.Commit(a))
			for _, f := range w.chain.Firmwares() {
				w.state(f, d, bootcontrol.State{Default: a})
				w.boots(f, d, "one", "one")
			}
			w.must(n.Arm(b))
			w.boots(f, d, "two")
		}
	})
}

func TestATrialThatIsBlessedStays(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		for _, f := range w.chain.Firmwares() {
			d := w.ready()
			names := map[bootcontrol.Slot]string{a: "one", b: "two"}
			other := b
			for range 12 { // past the numbers of one digit
				w.must(w.open(d).Arm(other))
				w.boots(f, d, names[other])
				w.must(w.open(d).Commit(other))
				for _, g := range w.chain.Firmwares() {
					w.state(g, d, bootcontrol.State{Default: other})
					w.boots(g, d, names[other], names[other], names[other], names[other])
				}
				other = other.Other()
			}
			w.fsck("after twelve trials", d)
		}
	})
}

func TestATrialIsCalledOff(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		d := w.ready()
		n := w.open(d)
		w.must(n.Arm(b))
		w.must(n.Commit(a))
		for _, f := range w.chain.Firmwares() {
			w.state(f, d, bootcontrol.State{Default: a})
			w.boots(f, d, "one", "one")
		}
		if files, err := n.BootFiles(b); err != nil || len(files) != len(w.two.Boot) {
			t.Errorf("BootFiles(b) = %v, %v, want all", files, err)
		}
		w.must(n.RemoveBootFiles(b))
		w.fsck("after a trial that was called off", d)
	})
}

func TestArmingAgainBeginsTheTriesAnew(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		for _, f := range w.chain.Firmwares() {
			d := w.ready()
			w.must(w.open(d).Arm(b))
			w.boots(f, d, "two")
			w.must(w.open(d).Arm(b))
			w.state(f, d, bootcontrol.State{Default: a, Trial: b, TriesLeft: w.tries()})
			w.boots(f, d, slices.Repeat([]string{"two"}, w.tries())...)
			w.boots(f, d, "one")
		}
	})
}

func TestAReplacedSlotBootsWhatIsNewInIt(t *testing.T) {
	eachChain(t, func(t *testing.T, w *bench) {
		f := w.chain.Firmwares()[0]
		d := w.ready()
		w.must(w.open(d).Arm(b))
		w.boots(f, d, "two")
		w.must(w.open(d).Commit(b))
		// Slot a gets system two as well: its root and boot files.
		if _, err := d.WriteAt(w.two.Root, smallsystem.RootA); err != nil {
			t.Fatal(err)
		}
		w.install(d, a, w.two)
		w.must(w.open(d).Arm(a))
		n := w.open(d)
		w.must(n.Commit(a))
		w.boots(f, d, "two")
		w.must(n.RemoveBootFiles(b))
		w.boots(f, d, "two")
		w.fsck("after both slots were replaced", d)
	})
}
