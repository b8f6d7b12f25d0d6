package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

func sortedKeys(m map[string][]byte) []string { return slices.Sorted(maps.Keys(m)) }

// each runs a test for every boot chain.
func each(t *testing.T, f func(t *testing.T, l *lab)) {
	for _, c := range smallsystem.Chains {
		t.Run(string(c), func(t *testing.T) { f(t, newLab(t, c)) })
	}
}

func TestUpgradeIsWrittenThenArmedThenCommitted(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		b := makeBundle(t, l.two, nil, nil)
		before := l.state()
		src := newMemory(b)
		r, err := Run(t.Context(), src, l.system(), Options{SHA256: fmt.Sprintf("%X", sha256.Sum256(b))})
		if err != nil {
			t.Fatal(err)
		}
		l.untouched(before)
		if r.Slot != bootcontrol.B || r.Manifest.RootHash != l.two.RootHash {
			t.Errorf("Result: slot %s, root %s", r.Slot, r.Manifest.RootHash)
		}
		if r.BytesTotal != int64(len(b)) || r.BytesFetched != src.read || r.BytesReused != r.BytesTotal-r.BytesFetched {
			t.Errorf("Result: %d bytes, %d fetched, %d reused; the bundle has %d, of which %d were read", r.BytesTotal, r.BytesFetched, r.BytesReused, len(b), src.read)
		}
		if r.BytesReused < r.BytesTotal/2 {
			t.Errorf("Result: %d of %d bytes reused, want most of the root", r.BytesReused, r.BytesTotal)
		}
		l.arm(r)
		if s := l.state(); s.Default != bootcontrol.A || s.Trial != bootcontrol.B || s.Next() != bootcontrol.B {
			t.Errorf("armed: %+v", s)
		}
		l.boots(l.two)
		if err := l.node().Commit(bootcontrol.B); err != nil {
			t.Fatal(err)
		}
		l.boots(l.two)
		if s := l.state(); s.Default != bootcontrol.B || s.Trial != "" {
			t.Errorf("committed: %+v", s)
		}
	})
}

// TestOnlyBlocksThatAreNowhereOnTheDiskAreFetched counts: of the root two moved blocks, one changed, and the hash tree's.
func TestOnlyBlocksThatAreNowhereOnTheDiskAreFetched(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	// The boot files are those of the running slot, but the one with the root hash.
	maps.Copy(l.two.Boot, map[string][]byte{"linux": l.one.Boot["linux"], "initrd.img": l.one.Boot["initrd.img"]})
	b := makeBundle(t, l.two, nil, nil)
	h, err := bundle.ReadHeader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	head := int64(64 + len(h.ManifestBytes) + len(h.Signature) + len(h.Index))
	src := newMemory(b)
	if _, err := Run(t.Context(), src, l.system(), Options{}); err != nil {
		t.Fatal(err)
	}
	// 202 digests are two blocks, and one above them; the superblock has the number of blocks.
	const blocks = 3 + 2 + 1 + 1
	if want := head + blocks*blockSize + int64(len(l.two.Boot["boot.env"])); src.read != want {
		t.Errorf("%d bytes were read, want %d: the header, %d blocks of the root and boot.env", src.read, want, blocks)
	}
}

func TestRunAgainReadsTheHeaderAndWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		b := makeBundle(t, l.two, nil, nil)
		l.run(b)
		ops := l.disk.Operations()
		r := l.run(b)
		if l.disk.Operations() != ops || r.BytesWritten != 0 {
			t.Errorf("%d operations, %d bytes written, want none", l.disk.Operations()-ops, r.BytesWritten)
		}
		if r.BytesFetched > 20_000 {
			t.Errorf("%d bytes fetched, want the header only", r.BytesFetched)
		}
		l.arm(r)
		l.boots(l.two)
	})
}

// TestInterruptedRunGoesOn lets the source fail at many places; in the end nothing was fetched twice but the header.
func TestInterruptedRunGoesOn(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.two = smallsystem.New(t, l.chain, "two", fresh())
		b := makeBundle(t, l.two, nil, nil)
		before := l.state()
		var all int64
		tries := 0
		for {
			src := newMemory(b)
			src.failAfter = 250_000
			if tries == 0 {
				src.failAfter = 10_000 // the header, no more
			}
			_, err := Run(t.Context(), src, l.system(), Options{})
			all += src.read
			if err == nil {
				break
			}
			if !errors.Is(err, errServer) {
				t.Fatal(err)
			}
			l.untouched(before)
			if tries++; tries > 40 {
				t.Fatal("it never gets to its end")
			}
		}
		if tries < 4 {
			t.Errorf("it was interrupted %d times only", tries)
		}
		if limit := int64(len(b)) + int64(tries+1)*20_000; all > limit {
			t.Errorf("%d bytes were read in %d runs, want at most %d: the bundle, and its header each time", all, tries+1, limit)
		}
		l.boots(l.one)
	})
}

// fresh is a root with nothing in common with the first.
func fresh() []int {
	b := make([]int, smallsystem.DataBlocks)
	for i := range b {
		b[i] = 5000 + i
	}
	return b
}

func TestBundleThatMayNotBeAppliedChangesNothing(t *testing.T) {
	k, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	manifest := func(f func(m *bundle.Manifest)) func(*testing.T, *lab) []byte {
		return func(t *testing.T, l *lab) []byte {
			return makeBundle(t, l.two, func(m *bundle.Manifest, _ map[string][]byte) { f(m) }, nil)
		}
	}
	files := func(f func(files map[string][]byte)) func(*testing.T, *lab) []byte {
		return func(t *testing.T, l *lab) []byte {
			return makeBundle(t, l.two, func(_ *bundle.Manifest, files map[string][]byte) { f(files) }, nil)
		}
	}
	good := func(t *testing.T, l *lab) []byte { return makeBundle(t, l.two, nil, nil) }
	flip := func(at func(b []byte) int) func(*testing.T, *lab) []byte {
		return func(t *testing.T, l *lab) []byte {
			b := good(t, l)
			b[at(b)] ^= 4
			return b
		}
	}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T, l *lab) []byte
		system func(s *System)
		o      Options
		want   error
		text   string
		writes bool // it is found when blocks are read
	}{
		{name: "truncated", make: func(t *testing.T, l *lab) []byte { b := good(t, l); return b[:len(b)-4096] }, want: bundle.ErrTruncated},
		{name: "truncated in the header", make: func(t *testing.T, l *lab) []byte { return good(t, l)[:100] }, want: bundle.ErrTruncated},
		{name: "no bundle", make: func(t *testing.T, l *lab) []byte { return make([]byte, 10_000) }, want: bundle.ErrFormat},
		{name: "flipped bit in the manifest", make: flip(func(b []byte) int { return bytes.Index(b, []byte("v1.37.3")) + 6 }), want: bundle.ErrSignature},
		{name: "flipped bit in the signature", make: flip(func(b []byte) int {
			return bytes.Index(b, []byte("untrusted comment")) + bytes.IndexByte(b[bytes.Index(b, []byte("untrusted comment")):], '\n') + 30
		}), want: bundle.ErrSignature},
		{name: "flipped bit in the index", make: func(t *testing.T, l *lab) []byte {
			b := good(t, l)
			h, err := bundle.ReadHeader(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			b[64+len(h.ManifestBytes)+len(h.Signature)+8] ^= 1
			return b
		}, want: bundle.ErrFormat},
		{name: "flipped bit in the root", make: func(t *testing.T, l *lab) []byte {
			b := good(t, l)
			b[bytes.Index(b, smallsystem.Block(1002))+77] ^= 1
			return b
		}, want: bundle.ErrContent, text: "in root", writes: true},
		{name: "flipped bit in a boot file", make: func(t *testing.T, l *lab) []byte {
			b := good(t, l)
			b[bytes.Index(b, []byte("roothash="+l.two.RootHash))+9] ^= 1
			return b
		}, want: bundle.ErrContent, text: "in boot/", writes: true},
		{name: "unsigned", make: func(t *testing.T, l *lab) []byte {
			b := good(t, l)
			at := bytes.Index(b, []byte("untrusted comment"))
			clear(b[at : at+100])
			return b
		}, want: bundle.ErrSignature},
		{name: "signed by another key", make: func(t *testing.T, l *lab) []byte { return makeBundle(t, l.two, nil, &k.theirs) }, want: bundle.ErrUntrusted},
		{name: "no key trusted", make: good, system: func(s *System) { s.Keys = nil }, want: ErrNoKeys},
		{name: "another board", make: manifest(func(m *bundle.Manifest) { m.Board = "rpi5" }), want: ErrBoard, text: `"rpi5"`},
		{name: "older serial", make: manifest(func(m *bundle.Manifest) { m.Serial = 99 }), want: ErrSerial, text: "100 or more"},
		{name: "two minor versions up", make: manifest(func(m *bundle.Manifest) { m.Kubernetes = "v1.39.0" }), want: ErrSkew, text: "one minor version at a time; upgrade to a bundle with v1.38 first"},
		{name: "one minor version down", make: manifest(func(m *bundle.Manifest) { m.Kubernetes = "v1.36.9" }), want: ErrSkew, text: "never back to an older minor version"},
		{name: "root too large", make: files(func(f map[string][]byte) { f["root"] = append(f["root"], make([]byte, smallsystem.RootSize)...) }), want: ErrTooLarge},
		{name: "no boot files", make: files(func(f map[string][]byte) { maps.DeleteFunc(f, func(n string, _ []byte) bool { return n != "root" }) }), want: ErrFiles},
		{name: "no root", make: files(func(f map[string][]byte) { delete(f, "root") }), want: ErrFiles},
		{name: "boot files too large", make: files(func(f map[string][]byte) {
			for name := range f {
				if name != "root" {
					f[name] = append(f[name], make([]byte, smallsystem.ESPSize)...)
					break
				}
			}
		}), want: ErrTooLarge},
		{name: "the system that runs", make: func(t *testing.T, l *lab) []byte { return makeBundle(t, l.one, nil, nil) }, want: ErrSame},
		{name: "another file than asked for", make: good, o: Options{SHA256: strings.Repeat("ab", 32)}, want: ErrChecksum, writes: true},
		{name: "SHA-256 that is none", make: good, o: Options{SHA256: "abcd"}, text: "64 hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, l *lab) {
				before := l.state()
				s := l.system()
				if c.system != nil {
					c.system(&s)
				}
				_, err := Run(t.Context(), newMemory(c.make(t, l)), s, c.o)
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Fatalf("Run = %v, want %v with %q in it", err, c.want, c.text)
				}
				if !c.writes && l.disk.Operations() > 0 {
					t.Errorf("the disk was written to: %s, …", l.disk.Operation(0))
				}
				l.untouched(before)
				// Nor can what is left be armed.
				if err := l.node().Arm(bootcontrol.B); err == nil {
					t.Error("slot b could be armed")
				}
			})
		})
	}
}

func TestKubernetesMayGoOneMinorVersionUpAndNeverDown(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"v1.37.2", "v1.37.2", nil}, {"v1.37.2", "v1.37.0", nil}, {"v1.37.2", "v1.37.9", nil}, {"v1.37.2", "v1.38.0", nil}, {"v1.37.2", "v1.38.0-rc.1", nil},
		{"v1.9.0", "v1.10.0", nil}, {"v1.37.2", "v1.39.0", ErrSkew}, {"v1.37.2", "v1.36.99", ErrSkew}, {"v1.37.2", "v2.37.2", ErrSkew}, {"v2.0.0", "v1.99.0", ErrSkew},
	} {
		if err := checkSkew(c.from, c.to); !errors.Is(err, c.want) {
			t.Errorf("checkSkew(%s, %s) = %v, want %v", c.from, c.to, err, c.want)
		}
	}
	for _, v := range []string{"", "1.37.2", "v1.37", "v1.x.2", "v1.-1.2", "v99999999999.1.2"} {
		if checkSkew(v, "v1.37.2") == nil || checkSkew("v1.37.2", v) == nil {
			t.Errorf("version %q is taken", v)
		}
	}
}

func TestSecondUpgradeAtOnceIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrBusy) {
		t.Errorf("second Lock = %v, want ErrBusy", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = Lock(path)
	if err != nil {
		t.Fatalf("Lock after the first has ended = %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestSlotOnTrialMustBeCommittedFirst(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.arm(l.run(makeBundle(t, l.two, nil, nil)))
		if err := l.node().Count(); err != nil { // PID 1's first act in a trial
			t.Fatal(err)
		}
		l.booted = bootcontrol.B
		ops := l.disk.Operations()
		three := makeBundle(t, smallsystem.New(t, l.chain, "three", fresh()), nil, nil)
		if _, err := Run(t.Context(), newMemory(three), l.system(), Options{}); !errors.Is(err, ErrTrial) {
			t.Errorf("Run = %v, want ErrTrial", err)
		}
		if err := Arm(l.system(), &Result{Slot: bootcontrol.A}); !errors.Is(err, ErrTrial) {
			t.Errorf("Arm = %v, want ErrTrial", err)
		}
		if l.disk.Operations() != ops {
			t.Error("the disk was written to")
		}
	})
}

// watched is a disk that tells when slot b's root or boot files are written.
type watched struct {
	bootcontrol.Disk
	write func(off int64)
}

func (w *watched) WriteAt(p []byte, off int64) (int, error) {
	w.write(off)
	return w.Disk.WriteAt(p, off)
}

func TestTrialThatWasArmedIsCalledOffBeforeTheFirstWrite(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.arm(l.run(makeBundle(t, l.two, nil, nil)))
		s := l.system()
		roots := 0
		s.Disk = &watched{l.disk, func(off int64) {
			if off < smallsystem.RootB {
				return
			}
			if roots++; roots == 1 {
				if st := l.state(); st.Trial != "" || st.Default != bootcontrol.A {
					t.Errorf("boot state at the first write of the root: %+v, want no trial", st)
				}
				l.boots(l.one)
			}
		}}
		three := smallsystem.New(t, l.chain, "three", fresh())
		r, err := Run(t.Context(), newMemory(makeBundle(t, three, nil, nil)), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if roots == 0 {
			t.Error("the root was not written")
		}
		l.boots(l.one)
		l.arm(r)
		l.boots(three)
	})
}

func TestTenUpgradesBackAndForth(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		bundles := map[*smallsystem.System][]byte{l.one: makeBundle(t, l.one, nil, nil), l.two: makeBundle(t, l.two, nil, nil)}
		for i := range 10 {
			to := l.two
			if i%2 == 1 {
				to = l.one
			}
			r := l.run(bundles[to])
			l.arm(r)
			l.boots(to)
			l.booted = l.booted.Other()
			if err := l.node().Commit(l.booted); err != nil {
				t.Fatal(err)
			}
			l.boots(to)
			// From the third on both slots have all of it.
			if i >= 2 && r.BytesFetched > 20_000 {
				t.Errorf("upgrade %d: %d bytes fetched, want the header only", i+1, r.BytesFetched)
			}
		}
	})
}

func TestUpgradeAfterAnUpgradeWithoutRebootReplacesIt(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.run(makeBundle(t, l.two, nil, nil))
		three := smallsystem.New(t, l.chain, "three", fresh())
		l.arm(l.run(makeBundle(t, three, nil, nil)))
		l.boots(three)
	})
}

func TestHalfASlotCannotBeCommitted(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		l.run(makeBundle(t, l.two, nil, nil))
		three := makeBundle(t, smallsystem.New(t, l.chain, "three", fresh()), nil, nil)
		src := newMemory(three)
		src.failAfter = 300_000
		if _, err := Run(t.Context(), src, l.system(), Options{}); !errors.Is(err, errServer) {
			t.Fatalf("Run = %v", err)
		}
		if err := l.node().Commit(bootcontrol.B); err == nil {
			t.Error("slot b could be committed: its root is half written")
		}
		l.boots(l.one)
	})
}

func TestCanceledRunEnds(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, newMemory(makeBundle(t, l.two, nil, nil)), l.system(), Options{Progress: func(p Progress) {
		if p.Phase == PhaseRoot {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
	l.boots(l.one)
}

func TestProgressGrowsToTheTotalOfEachPhaseInOrder(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	var all []Progress
	r, err := Run(t.Context(), newMemory(makeBundle(t, l.two, nil, nil)), l.system(), Options{Progress: func(p Progress) { all = append(all, p) }})
	if err != nil {
		t.Fatal(err)
	}
	var phases []Phase
	for i, p := range all {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
			if i > 0 && all[i-1].Done != all[i-1].Total {
				t.Errorf("phase %s ends at %d of %d", all[i-1].Phase, all[i-1].Done, all[i-1].Total)
			}
		} else if p.Done < all[i-1].Done {
			t.Errorf("%+v after %+v", p, all[i-1])
		}
	}
	if want := []Phase{PhaseCompare, PhaseRoot, PhaseVerify, PhaseBootFiles}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	if last := all[len(all)-1]; last.Done != last.Total || last.Fetched != r.BytesFetched || last.Written != r.BytesWritten {
		t.Errorf("last: %+v, result %+v", last, r)
	}
}

// forgetful is a disk that keeps what was written in memory, and loses one block of it on its way to the medium.
type forgetful struct {
	*watched
	lost  int64
	cache map[int64][]byte
}

func (f *forgetful) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Disk.ReadAt(p, off)
	for at, b := range f.cache {
		if at >= off && at < off+int64(len(p)) {
			copy(p[at-off:], b)
		}
	}
	return n, err
}

func (f *forgetful) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.Disk.WriteAt(p, off)
	if d := f.lost - off; d >= 0 && d < int64(len(p)) {
		f.cache[f.lost] = bytes.Clone(p[d:min(d+blockSize, int64(len(p)))])
		if _, err := f.Disk.WriteAt(make([]byte, blockSize), f.lost); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (f *forgetful) Invalidate(off, n int64) error {
	maps.DeleteFunc(f.cache, func(at int64, _ []byte) bool { return at >= off && at < off+n })
	return nil
}

func TestBlockThatTheDiskLosesIsFoundByReadingBackPastTheCache(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		before := l.state()
		s := l.system()
		s.Disk = &forgetful{watched: &watched{Disk: l.disk}, lost: smallsystem.RootB + 60*blockSize, cache: map[int64][]byte{}}
		_, err := Run(t.Context(), newMemory(makeBundle(t, l.two, nil, nil)), s, Options{})
		if !errors.Is(err, ErrReadBack) || !strings.Contains(err.Error(), fmt.Sprint(smallsystem.RootB+60*blockSize)) {
			t.Errorf("Run = %v, want ErrReadBack and the place", err)
		}
		l.untouched(before)
	})
}

func TestDiskThatFailsEndsTheRunAndTheOldSlotBoots(t *testing.T) {
	each(t, func(t *testing.T, l *lab) {
		b := makeBundle(t, l.two, nil, nil)
		l.arm(l.run(b))
		all := l.disk.Operations()
		for n := 0; n < all; n += 1 + all/25 {
			l := newLab(t, l.chain)
			l.disk.FailAt = n
			r, err := Run(t.Context(), newMemory(b), l.system(), Options{})
			if err == nil {
				err = Arm(l.system(), r)
			}
			if err == nil {
				t.Fatalf("no error with operation %d failing", n)
			}
			for _, f := range l.chain.Firmwares() {
				if _, err := smallsystem.Boots(f, disk.NewOverlay(l.disk), l.one, l.two); err != nil {
					t.Fatalf("operation %d of %d fails: %v", n, all, err)
				}
			}
		}
	})
}

func TestReadsAndWritesAreOfAMebibyteAtMost(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	b := makeBundle(t, smallsystem.New(t, l.chain, "three", fresh()), nil, nil)
	src := newMemory(b)
	if _, err := Run(t.Context(), src, l.system(), Options{}); err != nil {
		t.Fatal(err)
	}
	if src.largest > window {
		t.Errorf("the largest read has %d bytes", src.largest)
	}
	for i := range l.disk.Operations() {
		var n int64
		if _, err := fmt.Sscanf(l.disk.Operation(i), "write %d bytes", &n); err == nil && n > window {
			t.Errorf("operation %d: %s", i, l.disk.Operation(i))
		}
	}
}
