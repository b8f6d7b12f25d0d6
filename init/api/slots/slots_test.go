package slots

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/init/verity"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/reftool"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/apply"
	"github.com/keelson-os/keelson/upgrade/blockdev"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
	"github.com/keelson-os/keelson/upgrade/record"
	"github.com/keelson-os/keelson/upgrade/snapshot"
)

// lab is a node with system one in slot a, which runs, and a bundle of system two on its state partition.
type lab struct {
	*Slots
	t        *testing.T
	one, two *smallsystem.System
	bundle   string // path
	key      bundle.PrivateKey
}

func newLab(t *testing.T, c smallsystem.Chain) *lab {
	t.Helper()
	dir := t.TempDir()
	blocks := smallsystem.Plain()
	blocks[7] = 999
	l := &lab{t: t, one: smallsystem.New(t, c, "one", smallsystem.Plain()), two: smallsystem.New(t, c, "two", blocks)}
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, smallsystem.Disk(t, c, l.one), 0o600); err != nil {
		t.Fatal(err)
	}
	pub, _, secret, err := bundle.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	if l.key, err = bundle.ParsePrivateKey(secret, nil); err != nil {
		t.Fatal(err)
	}
	l.Slots = New(handoff.Boot{Slot: "a", RootHash: l.one.RootHash}, running.System{
		Board: "test", Version: "0.1.0", Serial: 100, MinimumSerial: 50, Kubernetes: "v1.37.2", Keys: []string{pub.String()},
	})
	l.Disk, l.Record, l.Bundles, l.Lock = disk, dir, dir, filepath.Join(dir, "lock")
	l.Firmware = dir // UEFI, where there is a choice
	l.Snapshots = snapshot.Store{Data: filepath.Join(dir, "db"), Dir: filepath.Join(dir, "snapshot")}
	l.bundle = filepath.Join(dir, "two.keelson")
	l.write(l.bundle, func(*bundle.Manifest) {})
	return l
}

// write makes a bundle of system two.
func (l *lab) write(path string, change func(*bundle.Manifest)) {
	l.t.Helper()
	m := bundle.Manifest{Board: "test", Arch: "amd64", Version: "0.2.0", Serial: 200, MinimumSerial: 60, Kubernetes: "v1.37.3", Kernel: "6.12.0", Created: "2026-11-02T10:00:00Z", RootHash: l.two.RootHash}
	change(&m)
	var list []bundle.Source
	add := func(name string, data []byte) {
		list = append(list, bundle.Source{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	add("root", l.two.Root)
	for name, data := range l.two.Boot {
		if name != "" {
			add("boot/"+name, data)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := errors.Join(bundle.Write(f, m, list, l.key), f.Close()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) upgrade(q machine.UpgradeRequest) (machine.UpgradeResult, error) {
	l.t.Helper()
	src, err := l.Open(l.t.Context(), "file://"+l.bundle)
	if err != nil {
		l.t.Fatal(err)
	}
	defer src.Close()
	return l.Upgrade(l.t.Context(), src, q, "tester", func(machine.UpgradeProgress) {})
}

// boot makes slot, with that root hash, the running one.
func (l *lab) boot(slot bootcontrol.Slot, hash string) {
	l.Booted = slot
	l.System.RootHash = hash
}

// control does something with the boot control, as PID 1 does.
func (l *lab) control(f func(*bootcontrol.Node) error) {
	l.t.Helper()
	d, err := blockdev.Open(l.Disk)
	if err != nil {
		l.t.Fatal(err)
	}
	defer d.Close()
	n, err := bootcontrol.Open(d)
	if err == nil {
		err = f(n)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) state() machine.Boot {
	l.t.Helper()
	b, _, err := l.Boot()
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *lab) attempt() *record.Attempt {
	l.t.Helper()
	r, err := record.Load(l.Record)
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Attempt
}

func everyChain(t *testing.T, f func(t *testing.T, l *lab)) {
	for _, c := range smallsystem.Chains {
		t.Run(string(c), func(t *testing.T) { f(t, newLab(t, c)) })
	}
}

func TestAnUpgradeIsRecordedArmedAndCanBeCalledOff(t *testing.T) {
	everyChain(t, func(t *testing.T, l *lab) {
		if b := l.state(); b.Default != "a" || b.Trial != "" {
			t.Fatalf("Boot = %+v, want slot a", b)
		}
		staged, err := l.upgrade(machine.UpgradeRequest{Stage: true})
		if err != nil || staged.Armed || staged.To.Slot != "b" || l.state().Trial != "" || l.attempt() != nil {
			t.Fatalf("staged Upgrade = %+v, %v; Boot = %+v, attempt %+v; want nothing armed", staged, err, l.state(), l.attempt())
		}
		l.Connected = func() bool { return true }
		got, err := l.upgrade(machine.UpgradeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !got.Armed || got.To.Version != "0.2.0" || got.To.RootHash != l.two.RootHash || got.From.Slot != "a" || got.Reused == 0 || got.Written >= staged.Written {
			t.Errorf("Upgrade after staging = %+v, want armed, and less written than when staging: %d", got, staged.Written)
		}
		if b := l.state(); b.Default != "a" || b.Trial != "b" || b.TriesLeft < 1 {
			t.Errorf("Boot = %+v, want slot b on trial", b)
		}
		a := l.attempt()
		if a == nil || a.State != record.Armed || a.From.RootHash != l.one.RootHash || a.To.Serial != 200 || a.To.MinimumSerial != 60 || a.ID == "" || a.Armed.IsZero() || !a.Connected {
			t.Errorf("attempt = %+v, want it armed", a)
		}
		back, err := l.Rollback(t.Context(), "tester")
		if err != nil || back.From != "a" || back.To != "a" || back.Trial {
			t.Errorf("Rollback of an armed upgrade = %+v, %v, want it called off", back, err)
		}
		if b, a := l.state(), l.attempt(); b.Trial != "" || a.State != record.Canceled || !strings.Contains(a.Reason, "tester") {
			t.Errorf("Boot = %+v, attempt = %+v, want no trial, and canceled by tester", b, a)
		}
	})
}

func TestAnUpgradeOfAnArmedOneEndsThatOnesAttempt(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	if _, err := l.upgrade(machine.UpgradeRequest{}); err != nil {
		t.Fatal(err)
	}
	first := l.attempt().ID
	if _, err := l.upgrade(machine.UpgradeRequest{}); err != nil {
		t.Fatal(err)
	}
	r, err := record.Load(l.Record)
	if err != nil || r.Attempt.ID == first || len(r.History) != 1 || r.History[0].State != record.Canceled {
		t.Errorf("record = %+v, %v, want the first attempt canceled in the history", r, err)
	}
}

func TestATrialIsGivenUpWithItsReason(t *testing.T) {
	everyChain(t, func(t *testing.T, l *lab) {
		if _, err := l.upgrade(machine.UpgradeRequest{}); err != nil {
			t.Fatal(err)
		}
		l.boot(bootcontrol.B, l.two.RootHash)
		l.control(func(n *bootcontrol.Node) error { return n.Count() })
		if _, err := l.upgrade(machine.UpgradeRequest{}); !errors.Is(err, machine.ErrBusy) {
			t.Errorf("Upgrade on trial = %v, want ErrBusy", err)
		}
		back, err := l.Rollback(t.Context(), "tester")
		if err != nil || back.From != "b" || back.To != "a" {
			t.Errorf("Rollback on trial = %+v, %v, want from b to a", back, err)
		}
		if b := l.state(); b.Default != "a" || b.Trial != "" {
			t.Errorf("Boot = %+v, want slot a alone", b)
		}
		if a := l.attempt(); !a.Open() || !strings.Contains(a.Reason, "tester") {
			t.Errorf("attempt = %+v, want it open, for the old system to finish, with the reason", a)
		}
	})
}

func TestTheOtherSlotIsTriedWhenItIsWhole(t *testing.T) {
	everyChain(t, func(t *testing.T, l *lab) {
		if _, err := l.Rollback(t.Context(), "tester"); !errors.Is(err, machine.ErrRefused) {
			t.Errorf("Rollback to an empty slot = %v, want ErrRefused", err)
		}
		if _, err := l.upgrade(machine.UpgradeRequest{}); err != nil {
			t.Fatal(err)
		}
		l.control(func(n *bootcontrol.Node) error { return n.Commit(bootcontrol.B) })
		r, err := record.Load(l.Record)
		if err != nil {
			t.Fatal(err)
		}
		r.Attempt.State = record.Good
		if err := r.Save(l.Record); err != nil {
			t.Fatal(err)
		}
		l.boot(bootcontrol.B, l.two.RootHash)
		// One flipped bit in the last block of the old root.
		at := int64(smallsystem.RootA + (smallsystem.DataBlocks-1)*4096 + 17)
		flip(t, l.Disk, at)
		l.System.MinimumSerial = 0
		if _, err := l.Rollback(t.Context(), "tester"); !errors.Is(err, machine.ErrRefused) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("Rollback to a damaged root = %v, want ErrRefused", err)
		}
		flip(t, l.Disk, at)
		l.System.MinimumSerial = 1 // the small systems have serial 0
		if _, err := l.Rollback(t.Context(), "tester"); !errors.Is(err, machine.ErrRefused) || !strings.Contains(err.Error(), "serial") {
			t.Errorf("Rollback to a serial that is too old = %v, want ErrRefused", err)
		}
		if b := l.state(); b.Trial != "" || l.attempt().State != record.Good {
			t.Errorf("a refused rollback changed %+v, %+v", b, l.attempt())
		}
		l.System.MinimumSerial = 0
		back, err := l.Rollback(t.Context(), "tester")
		if err != nil || back.To != "a" || !back.Trial {
			t.Fatalf("Rollback = %+v, %v, want slot a on trial", back, err)
		}
		if b := l.state(); b.Default != "b" || b.Trial != "a" {
			t.Errorf("Boot = %+v, want slot a on trial", b)
		}
		if a := l.attempt(); a.State != record.Armed || a.To.RootHash != l.one.RootHash || a.From.RootHash != l.two.RootHash {
			t.Errorf("attempt = %+v, want it armed from two to one", a)
		}
	})
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestARunningSlotThatIsNotTheDefaultBecomesIt(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	if _, err := l.upgrade(machine.UpgradeRequest{}); err != nil {
		t.Fatal(err)
	}
	l.control(func(n *bootcontrol.Node) error { return n.Commit(bootcontrol.B) })
	// Slot b is the default now, and slot a runs: the boot loader could not start b.
	back, err := l.Rollback(t.Context(), "tester")
	if err != nil || back.From != "a" || back.To != "a" || l.state().Default != "a" {
		t.Errorf("Rollback = %+v, %v; Boot = %+v, want slot a the default", back, err, l.state())
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	l := newLab(t, smallsystem.UBoot)
	_, _, theirs, err := bundle.GenerateKey("theirs")
	if err != nil {
		t.Fatal(err)
	}
	good := l.bundle
	for name, x := range map[string]struct {
		change func()
		want   error
	}{
		"wrong board":     {func() { l.write(l.bundle, func(m *bundle.Manifest) { m.Board = "other" }) }, machine.ErrRefused},
		"older serial":    {func() { l.write(l.bundle, func(m *bundle.Manifest) { m.Serial = 49 }) }, machine.ErrRefused},
		"Kubernetes skew": {func() { l.write(l.bundle, func(m *bundle.Manifest) { m.Kubernetes = "v1.39.0" }) }, machine.ErrRefused},
		"unknown key": {func() {
			ours := l.key
			l.key, _ = bundle.ParsePrivateKey(theirs, nil)
			l.write(l.bundle, func(*bundle.Manifest) {})
			l.key = ours
		}, machine.ErrRefused},
		"truncated":         {func() { os.Truncate(l.bundle, 100_000) }, machine.ErrRefused},
		"no bundle":         {func() { os.WriteFile(l.bundle, []byte("hello"), 0o600) }, machine.ErrRefused},
		"record's serial":   {func() { (&record.Record{MinimumSerial: 201}).Save(l.Record) }, machine.ErrRefused},
		"no keys":           {func() { l.System.Keys = nil }, machine.ErrRefused},
		"damaged signature": {func() { flip(t, l.bundle, 100) }, machine.ErrRefused},
	} {
		keys := l.System.Keys
		l.bundle = good + ".changed"
		l.write(l.bundle, func(*bundle.Manifest) {})
		(&record.Record{}).Save(l.Record)
		before, err := os.ReadFile(l.Disk)
		if err != nil {
			t.Fatal(err)
		}
		x.change()
		if _, err := l.upgrade(machine.UpgradeRequest{}); !errors.Is(err, x.want) {
			t.Errorf("%s: Upgrade = %v, want %v", name, err, x.want)
		}
		after, err := os.ReadFile(l.Disk)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the disk was written to, %v", name, err)
		}
		if a := l.attempt(); a != nil {
			t.Errorf("%s: attempt = %+v", name, a)
		}
		l.System.Keys = keys
	}
}

func TestOnlyOneAtOnce(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	unlock, err := apply.Lock(l.Lock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.upgrade(machine.UpgradeRequest{}); !errors.Is(err, machine.ErrBusy) {
		t.Errorf("Upgrade while another process writes = %v, want ErrBusy", err)
	}
	if _, err := l.Rollback(t.Context(), "tester"); !errors.Is(err, machine.ErrBusy) {
		t.Errorf("Rollback while another process writes = %v, want ErrBusy", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if l.Busy() {
		t.Error("Busy = true, and nothing is done")
	}
	if _, err := l.upgrade(machine.UpgradeRequest{Stage: true}); err != nil {
		t.Errorf("Upgrade after it = %v", err)
	}
}

func TestTheRunningSystemsBundleIsDoneAndNoRoomIsSaidBefore(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	l.two, l.one = l.one, l.two
	l.write(l.bundle, func(*bundle.Manifest) {})
	got, err := l.upgrade(machine.UpgradeRequest{})
	if err != nil || got.Armed || got.To.Slot != "a" {
		t.Errorf("Upgrade to what runs = %+v, %v, want nothing armed", got, err)
	}
	l.two, l.one = l.one, l.two
	l.write(l.bundle, func(*bundle.Manifest) {})
	if err := os.MkdirAll(l.Snapshots.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Snapshots.Free = func(string) (int64, error) { return 1, nil }
	if _, err := l.upgrade(machine.UpgradeRequest{}); !errors.Is(err, machine.ErrRefused) || !strings.Contains(err.Error(), "no room") {
		t.Errorf("Upgrade without room for a snapshot = %v, want ErrRefused", err)
	}
}

func TestABundleMayComeFromAServerOrFromTheStatePartitionOnly(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	server := httptest.NewServer(http.FileServer(http.Dir(l.Bundles)))
	defer server.Close()
	src, err := l.Open(t.Context(), server.URL+"/two.keelson")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Upgrade(t.Context(), src, machine.UpgradeRequest{Stage: true}, "tester", func(machine.UpgradeProgress) {}); err != nil {
		t.Errorf("Upgrade from a server = %v", err)
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"file:///etc/passwd", "file://" + l.Bundles + "/../x", "file://host" + l.bundle, "file://" + l.Bundles, l.bundle, "", "ftp://x/y", "http://", ":",
		"file://" + l.Bundles + "/none",
	} {
		var e *machine.Error
		if _, err := l.Open(t.Context(), url); !errors.As(err, &e) || e.Status >= 500 && !strings.HasPrefix(url, "http") {
			t.Errorf("Open(%q) = %v, want a refusal", url, err)
		}
	}
}

func TestAServerThatDiesIsNotTheNodesFault(t *testing.T) {
	l := newLab(t, smallsystem.UEFI)
	src, err := l.Open(t.Context(), "file://"+l.bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dying := &dead{source: src, after: 3}
	var e *machine.Error
	if _, err := l.Upgrade(t.Context(), dying, machine.UpgradeRequest{}, "tester", func(machine.UpgradeProgress) {}); !errors.As(err, &e) || e.Status != http.StatusBadGateway {
		t.Errorf("Upgrade = %v, want status 502", err)
	}
	if b := l.state(); b.Default != "a" || b.Trial != "" {
		t.Errorf("Boot = %+v, want slot a", b)
	}
}

// dead is a source that dies after some reads.
type dead struct {
	source
	after int
}

func (d *dead) ReadAt(p []byte, off int64) (int, error) {
	if d.after--; d.after < 0 {
		return 0, errors.New("connection reset")
	}
	return d.source.ReadAt(p, off)
}

func TestANodeThatDoesNotKnowItsDiskSaysSo(t *testing.T) {
	s := New(handoff.Boot{}, running.System{})
	s.Lock = filepath.Join(t.TempDir(), "lock")
	if _, _, err := s.Boot(); !errors.Is(err, errNoDisk) {
		t.Errorf("Boot = %v, want errNoDisk", err)
	}
	if _, err := s.Rollback(t.Context(), "x"); !errors.Is(err, errNoDisk) {
		t.Errorf("Rollback = %v, want errNoDisk", err)
	}
}

func TestATreesHashIsVeritysetups(t *testing.T) {
	tool := reftool.Need(t, "veritysetup", "cryptsetup-bin")
	root := regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`)
	salt := "00112233"
	rawSalt, _ := hex.DecodeString(salt)
	for _, blocks := range []int{1, 2, 127, 128, 129, 256, 16384, 16385} {
		dir := t.TempDir()
		data := filepath.Join(dir, "data")
		f, err := os.Create(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			if _, err := f.WriteAt(fmt.Appendf(nil, "block %d", i), int64(i)*verity.BlockSize); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Truncate(int64(blocks)*verity.BlockSize), f.Close()); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "format", "--salt", salt, data, filepath.Join(dir, "hash")).CombinedOutput()
		m := root.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("veritysetup: %v\n%s", err, out)
		}
		r, err := os.Open(data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := treeHash(context.Background(), r, uint64(blocks), rawSalt)
		r.Close()
		if err != nil || hex.EncodeToString(got[:]) != string(m[1]) {
			t.Errorf("treeHash of %d blocks = %x, %v, want %s", blocks, got, err, m[1])
		}
	}
}

func FuzzCommandLinesOfBootFiles(f *testing.F) {
	f.Add([]byte("MZ"), "keelson_args=roothash=x\n")
	f.Add(append([]byte("MZ"), make([]byte, 200)...), "")
	f.Fuzz(func(t *testing.T, image []byte, text string) {
		if line, err := ukiLine(io.NewSectionReader(bytes.NewReader(image), 0, int64(len(image)))); err == nil && len(line) > lineMax {
			t.Errorf("ukiLine returns %d bytes", len(line))
		}
		r := strings.NewReader(text)
		if line, err := envLine(io.NewSectionReader(r, 0, int64(len(text)))); err == nil {
			running.Parse(cmdline.Parse(line))
		}
	})
}

func TestIDsDifferWhenTheClockStandsStill(t *testing.T) {
	s := New(handoff.Boot{}, running.System{})
	s.Now = func() time.Time { return time.Unix(0, 0) }
	if a, b := s.newID(), s.newID(); a == b || !regexp.MustCompile(`^[0-9TZ]+-[0-9a-f]{6}$`).MatchString(a) {
		t.Errorf("newID = %q, %q", a, b)
	}
}
