package apply

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/powercut"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// cuts is how many power cuts each chain's upgrade is put through.
const cuts = 200

// TestPowerCutAtAnyPointOfAnUpgradeBootsTheOldOrTheNewSystemWhole cuts the power at random points of whole upgrades: written, armed, and marked good;
// the next one, back; and one whose trial the next upgrade calls off. What the firmware boots is read by readers that know nothing of our writers, and every bit of its
// root is verified. After every third cut the machine that came up upgrades again, and gets the new system.
func TestPowerCutAtAnyPointOfAnUpgradeBootsTheOldOrTheNewSystemWhole(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		// 200 blocks of the root change, and all boot files.
		l.two = smallsystem.New(t, l.chain, "two", fresh())
		three := smallsystem.New(t, l.chain, "three", next())
		toTwo, toThree := makeBundle(t, l.two, nil, nil), makeBundle(t, three, nil, nil)
		type stage struct {
			end  int // operations
			what string
			may  []*smallsystem.System
		}
		var stages []stage
		done := func(what string, may ...*smallsystem.System) {
			stages = append(stages, stage{l.disk.Operations(), what, may})
		}
		good := func() {
			t.Helper()
			l.booted = l.booted.Other()
			if err := errors.Join(l.node().Count(), l.node().Commit(l.booted)); err != nil {
				t.Fatal(err)
			}
		}
		r := l.run(toTwo)
		done("write two", l.one)
		l.arm(r)
		done("arm two", l.one, l.two)
		good()
		done("mark two good", l.one, l.two)
		r = l.run(toThree)
		done("write three", l.two)
		l.arm(r)
		done("arm three", l.two, three)
		good()
		done("mark three good", l.two, three)
		l.boots(three)
		// A trial that is armed and never made, and is called off by the next upgrade.
		five := smallsystem.New(t, l.chain, "five", numbers(9000, 220))
		r = l.run(makeBundle(t, five, nil, nil))
		done("write five", three)
		l.arm(r)
		done("arm five", three, five)
		l.boots(five)
		r = l.run(toTwo)
		done("write two over it", three, five)
		l.boots(three)
		l.arm(r)
		done("arm two again", three, l.two)
		l.boots(l.two)

		four := smallsystem.New(t, l.chain, "four", next()[:150])
		toFour := makeBundle(t, four, nil, nil)
		rnd := rand.New(rand.NewPCG(5, uint64(len(l.chain))))
		all := l.disk.Operations()
		booted := map[string]int{}
		for i := range cuts {
			// Half of the cuts are anywhere; the others where the boot state changes.
			n := rnd.IntN(all + 1)
			if i%2 == 0 {
				s := []int{1, 2, 4, 5, 7, 8, 9}[rnd.IntN(7)]
				n = stages[s-1].end + rnd.IntN(stages[s].end-stages[s-1].end+1)
			}
			k := 0
			for stages[k].end < n {
				k++
			}
			may := stages[k].may
			if n == stages[k].end && k+1 < len(stages) {
				may = append(may[:len(may):len(may)], stages[k+1].may...)
			}
			image, err := l.disk.Cut(n, rnd)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range l.chain.Firmwares() {
				// Each on its own: a firmware counts a try.
				over := disk.NewOverlay(image)
				s, err := smallsystem.Boots(f, over, may...)
				if err != nil {
					t.Fatalf("cut %d, after operation %d of %d (%s, before: %s): %v", i, n, all, stages[k].what, l.disk.Operation(max(n-1, 0)), err)
				}
				booted[stages[k].what+": "+s.Name]++
				if i%3 == 0 {
					l.goesOn(f, over, s, four, toFour)
				}
			}
		}
		t.Logf("%d operations, %d cuts: %v", all, cuts, booted)
	})
}

// goesOn upgrades the machine that came up after a cut.
func (l *lab) goesOn(f smallsystem.Firmware, over *disk.Overlay, booted, want *smallsystem.System, b []byte) {
	l.t.Helper()
	image := powercut.Record(over, smallsystem.Size)
	n, err := bootcontrol.Open(image)
	if err != nil {
		l.t.Fatal(err)
	}
	kind := bootcontrol.UEFIFirmware
	if f.Name == "BIOS" {
		kind = bootcontrol.BIOSFirmware
	}
	n.StartedBy(kind)
	slot := slotOf(l.t, image, booted)
	if err := errors.Join(n.Count(), n.Commit(slot)); err != nil {
		l.t.Fatalf("commit slot %s, which came up: %v", slot, err)
	}
	s := l.system()
	s.Disk, s.Booted, s.Firmware = image, slot, kind
	r, err := Run(l.t.Context(), newMemory(b), s, Options{})
	if err == nil {
		err = Arm(s, r)
	}
	if err != nil {
		l.t.Fatalf("upgrade after a cut, slot %s: %v", slot, err)
	}
	got, err := smallsystem.Boots(f, disk.NewOverlay(image), booted, want)
	if err != nil || got != want {
		l.t.Fatalf("after a cut and an upgrade of slot %s: boots %v, %v, want %s", slot, got, err, want.Name)
	}
}

// slotOf is the slot whose root is the system's, as the initramfs finds it.
func slotOf(t *testing.T, image *powercut.Recorder, s *smallsystem.System) bootcontrol.Slot {
	t.Helper()
	for slot, off := range map[bootcontrol.Slot]int64{bootcontrol.A: smallsystem.RootA, bootcontrol.B: smallsystem.RootB} {
		if s.Holds(image, off) {
			return slot
		}
	}
	t.Fatalf("no slot has the root of system %s", s.Name)
	return ""
}
