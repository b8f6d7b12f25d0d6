package powercut

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func fill(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func write(t *testing.T, r *Recorder, c byte, off int64, n int) {
	t.Helper()
	if _, err := r.WriteAt(fill(c, n), off); err != nil {
		t.Fatal(err)
	}
}

// Two writes, a sync, and two more to one sector and its neighbour.
func recorded(t *testing.T) *Recorder {
	r := Record(bytes.NewReader(fill('.', 4*SectorSize)), 4*SectorSize)
	write(t, r, 'a', 0, 2*SectorSize)
	write(t, r, 'b', SectorSize+100, 8)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, r, 'c', SectorSize, 2*SectorSize)
	write(t, r, 'd', SectorSize, SectorSize)
	return r
}

func TestSyncedWritesSurviveEveryCut(t *testing.T) {
	r := recorded(t)
	want := append(fill('a', SectorSize), fill('.', SectorSize)...)
	for seed := range uint64(200) {
		for n := 3; n <= r.Operations(); n++ {
			d, err := r.Cut(n, rand.New(rand.NewPCG(seed, 0)))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 4*SectorSize)
			if _, err := d.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[:SectorSize], want[:SectorSize]) || !bytes.Equal(got[3*SectorSize:], want[SectorSize:]) {
				t.Fatalf("seed %d, cut at %d: sector 0 %.10q, sector 3 %.10q", seed, n, got, got[3*SectorSize:])
			}
		}
	}
}

func TestUnsyncedWritesComeInAnyOrderAndTorn(t *testing.T) {
	r := recorded(t)
	seen := map[string]bool{}
	for seed := range uint64(2000) {
		d, err := r.Cut(r.Operations(), rand.New(rand.NewPCG(seed, 0)))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2*SectorSize)
		if _, err := d.ReadAt(got, SectorSize); err != nil {
			t.Fatal(err)
		}
		first, second := got[:SectorSize], got[SectorSize:]
		seen["one "+string(first[:1])+string(first[SectorSize-1:])] = true
		seen["two "+string(second[:1])+string(second[SectorSize-1:])] = true
		if first[0] == 'a' && second[0] == 'c' {
			seen["later write of another sector alone"] = true
		}
		for _, c := range got {
			if !bytes.ContainsRune([]byte("ab.cd"), rune(c)) {
				t.Fatalf("byte %q was never written", c)
			}
		}
	}
	for _, want := range []string{"one aa", "one cc", "one dd", "one ac", "one ad", "one ca", "one da", "two ..", "two cc", "two .c", "two c.", "later write of another sector alone"} {
		if !seen[want] {
			t.Errorf("no cut left %q; seen %v", want, seen)
		}
	}
}

func TestARecorderFailsFromTheOperationOnThatItIsToldTo(t *testing.T) {
	r := Record(bytes.NewReader(fill('.', SectorSize)), SectorSize)
	r.FailAt = 1
	write(t, r, 'a', 0, 10)
	_, err := r.WriteAt([]byte("b"), 0)
	if !errors.Is(err, ErrFailed) || !errors.Is(r.Sync(), ErrFailed) || r.Operations() != 1 {
		t.Errorf("second operation: %v, %d recorded; want ErrFailed and one", err, r.Operations())
	}
	if at, err := r.Changed(); err != nil || len(at) != 1 || at[0] != 0 {
		t.Errorf("Changed = %v, %v, want [0]", at, err)
	}
}

func TestTearsAreAllOfOneSector(t *testing.T) {
	r := Record(bytes.NewReader(fill('.', 2*SectorSize)), 2*SectorSize)
	write(t, r, 'a', 100, 3)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, r, 'b', SectorSize, SectorSize)
	write(t, r, 'c', 0, 1)
	got := map[string]bool{}
	list, err := r.Tears(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		b := make([]byte, 5)
		if _, err := d.ReadAt(b, 99); err != nil {
			t.Fatal(err)
		}
		got[string(b)] = true
	}
	for _, want := range []string{".....", ".aaa.", ".a...", ".aa..", "..aa.", "...a."} {
		if !got[want] {
			t.Errorf("no tear gives %q: %v", want, got)
		}
		delete(got, want)
	}
	if len(got) > 0 {
		t.Errorf("tears give %v as well", got)
	}
	if list, err := r.Tears(4); err != nil || list != nil {
		t.Errorf("Tears of two sectors = %d disks, %v, want none", len(list), err)
	}
}
