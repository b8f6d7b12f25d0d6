package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// numbers are n block numbers from a first one on.
func numbers(first, n int) []int {
	b := make([]int, n)
	for i := range b {
		b[i] = first + i
	}
	return b
}

// TestBlocksThatAreWrittenOverBeforeTheyAreCopiedAreFetched: what slot b has at its beginning is wanted at its end, where the writer comes
// last.
func TestBlocksThatAreWrittenOverBeforeTheyAreCopiedAreFetched(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	l.run(makeBundle(t, smallsystem.New(t, l.chain, "two", numbers(10_000, 600)), nil, nil))
	three := smallsystem.New(t, l.chain, "three", append(numbers(20_000, 300), numbers(10_000, 300)...))
	r := l.run(makeBundle(t, three, nil, nil))
	if !three.Holds(l.disk, smallsystem.RootB) {
		t.Fatal("slot b has not the root of system three")
	}
	// Only 300 blocks are new; of the others a window and more was written over.
	if r.BytesFetched < 550*blockSize || r.BytesFetched > 700*blockSize {
		t.Errorf("%d bytes fetched", r.BytesFetched)
	}
	l.arm(r)
	l.boots(three)
}

// TestBlocksThatSlotBHasFurtherBackAreCopied: they are read before the writer comes there.
func TestBlocksThatSlotBHasFurtherBackAreCopied(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	l.run(makeBundle(t, smallsystem.New(t, l.chain, "two", numbers(10_000, 600)), nil, nil))
	three := smallsystem.New(t, l.chain, "three", numbers(10_100, 500))
	r := l.run(makeBundle(t, three, nil, nil))
	if !three.Holds(l.disk, smallsystem.RootB) {
		t.Fatal("slot b has not the root of system three")
	}
	if r.BytesFetched > 60*blockSize {
		t.Errorf("%d bytes fetched, want the hash tree and the boot files", r.BytesFetched)
	}
}

// TestAnyMixOfBlocksIsWrittenRight upgrades back and forth between systems of random blocks of which many are equal.
func TestAnyMixOfBlocksIsWrittenRight(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		blocks := make([]int, 200+rnd.IntN(600))
		for k := range blocks {
			switch rnd.IntN(4) {
			case 0:
				blocks[k] = rnd.IntN(5) // zeros among them
			case 1:
				blocks[k] = 1 + rnd.IntN(900)
			default:
				blocks[k] = 1 + k + rnd.IntN(2)
			}
		}
		to := smallsystem.New(t, l.chain, string(rune('A'+i)), blocks)
		r := l.run(makeBundle(t, to, nil, nil))
		place := int64(smallsystem.RootB)
		if l.booted == bootcontrol.B {
			place = smallsystem.RootA
		}
		if !to.Holds(l.disk, place) {
			t.Fatalf("upgrade %d: slot %s has not the system's root", i, r.Slot)
		}
		l.arm(r)
		l.boots(to)
		l.booted = r.Slot
		if err := l.node().Commit(r.Slot); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUpgradeFromAServerThatDiesGoesOnWhenItIsBack has the whole way: a server dies in mid-transfer, several times and
// then for good; the second Run fetches what the first one did not.
func TestUpgradeFromAServerThatDiesGoesOnWhenItIsBack(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.two = smallsystem.New(t, l.chain, "two", fresh())
		b := makeBundle(t, l.two, nil, nil)
		before := l.state()
		s := serve(t, b)
		s.do(func() { s.dieAfter, s.deaths = 100_000, 1000 })
		var last int64
		gone := impatient(nil)
		gone.pause = func(context.Context, int, time.Duration) error {
			// After 600 000 bytes it does not come back.
			if s.do(func() { last = s.sent }); last > 600_000 {
				s.do(func() { s.answer = func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) } })
			}
			return nil
		}
		src := mustOpen(t, s, gone)
		_, err := Run(t.Context(), src, l.system(), Options{})
		for _, want := range []string{s.URL, "offset", "it goes on from here"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("Run = %v, want an error with %q", err, want)
			}
		}
		if errors.Is(err, bundle.ErrContent) {
			t.Errorf("Run = %v: the bundle is whole", err)
		}
		l.untouched(before)
		s.do(func() { s.answer, s.deaths = nil, 0 })
		src = mustOpen(t, s, impatient(nil))
		r, err := Run(t.Context(), src, l.system(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		// The first Run's bytes but for the block in which it ended, and the header twice.
		if limit := int64(len(b)) + 2*20_000 + 64<<10; s.sent > limit {
			t.Errorf("%d bytes were sent for a bundle of %d, want at most %d", s.sent, len(b), limit)
		}
		l.arm(r)
		l.boots(l.two)
	})
}
