package apply

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/powercut"
	"github.com/keelson-os/keelson/tests/smallsystem"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// keys are one trusted key and one that nobody knows.
var keys = sync.OnceValues(func() (k struct {
	trusted bundle.PublicKey
	ours    bundle.PrivateKey
	theirs  bundle.PrivateKey
}, err error) {
	pub, _, secret, err := bundle.GenerateKey("test")
	if err != nil {
		return k, err
	}
	k.trusted = pub
	if k.ours, err = bundle.ParsePrivateKey(secret, nil); err != nil {
		return k, err
	}
	if _, _, secret, err = bundle.GenerateKey("theirs"); err != nil {
		return k, err
	}
	k.theirs, err = bundle.ParsePrivateKey(secret, nil)
	return k, err
})

// next is the root of the second system: two blocks are new, and all behind them have moved.
func next() []int {
	b := smallsystem.Plain()
	b = append(b[:50:50], append([]int{1001, 1002}, b[50:]...)...)
	b[120] = 1003
	return b
}

// lab is a disk with system one in slot a, which runs, and a bundle of system two.
type lab struct {
	t        *testing.T
	chain    smallsystem.Chain
	one, two *smallsystem.System
	base     []byte
	disk     *powercut.Recorder
	booted   bootcontrol.Slot
}

func newLab(t *testing.T, c smallsystem.Chain) *lab {
	t.Helper()
	l := &lab{t: t, chain: c, one: smallsystem.New(t, c, "one", smallsystem.Plain()), two: smallsystem.New(t, c, "two", next()), booted: bootcontrol.A}
	l.base = smallsystem.Disk(t, c, l.one)
	l.disk = powercut.Record(bytes.NewReader(l.base), smallsystem.Size)
	return l
}

func (l *lab) system() System {
	l.t.Helper()
	k, err := keys()
	if err != nil {
		l.t.Fatal(err)
	}
	return System{Disk: l.disk, Booted: l.booted, Board: "test", Kubernetes: "v1.37.2", MinimumSerial: 100, Keys: []bundle.PublicKey{k.trusted}}
}

func (l *lab) node() *bootcontrol.Node {
	l.t.Helper()
	n, err := bootcontrol.Open(l.disk)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

func (l *lab) state() bootcontrol.State {
	l.t.Helper()
	s, err := l.node().State()
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// boots checks that every firmware boots the system.
func (l *lab) boots(want *smallsystem.System) {
	l.t.Helper()
	for _, f := range l.chain.Firmwares() {
		got, err := smallsystem.Boots(f, disk.NewOverlay(l.disk), l.one, l.two, want)
		if err != nil {
			l.t.Fatal(err)
		}
		if got != want {
			l.t.Fatalf("%s boots system %s, want %s", f.Name, got.Name, want.Name)
		}
	}
}

// makeBundle returns the bytes of a bundle.
func makeBundle(t testing.TB, s *smallsystem.System, change func(m *bundle.Manifest, files map[string][]byte), key *bundle.PrivateKey) []byte {
	t.Helper()
	k, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	if key == nil {
		key = &k.ours
	}
	m := bundle.Manifest{
		Board: "test", Arch: "amd64", Version: "0.2.0-" + s.Name, Serial: 200, Kubernetes: "v1.37.3", Kernel: "6.12.0",
		Created: "2026-11-02T10:00:00Z", RootHash: s.RootHash,
	}
	files := map[string][]byte{"root": s.Root}
	for name, data := range s.Boot {
		files["boot/"+name] = data
	}
	if change != nil {
		change(&m, files)
	}
	var list []bundle.Source
	add := func(name string, data []byte) {
		list = append(list, bundle.Source{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	for _, name := range sortedKeys(files) {
		add(name, files[name])
	}
	path := filepath.Join(t.TempDir(), "bundle")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bundle.Write(f, m, list, *key), f.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is a bundle in memory, which counts.
type memory struct {
	*bytes.Reader
	read, largest int64
	failAfter     int64 // bytes; 0: never
}

var errServer = errors.New("the server died")

func newMemory(b []byte) *memory { return &memory{Reader: bytes.NewReader(b)} }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	died := m.failAfter > 0 && m.read+int64(len(p)) > m.failAfter
	if died {
		p = p[:m.failAfter-m.read]
	}
	n, err := m.Reader.ReadAt(p, off)
	m.read += int64(n)
	m.largest = max(m.largest, int64(n))
	if died {
		err = errServer
	}
	return n, err
}

func (m *memory) Size() int64  { return m.Reader.Size() }
func (m *memory) Close() error { return nil }

// run is Run of a bundle that must be taken.
func (l *lab) run(b []byte) *Result {
	l.t.Helper()
	r, err := Run(l.t.Context(), newMemory(b), l.system(), Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) arm(r *Result) {
	l.t.Helper()
	if err := Arm(l.system(), r); err != nil {
		l.t.Fatal(err)
	}
}

// untouched checks that slot a, which runs, is as it was: its root, its boot files, and what boots.
func (l *lab) untouched(before bootcontrol.State) {
	l.t.Helper()
	if s := l.state(); s != before {
		l.t.Errorf("boot state = %+v, want %+v as before", s, before)
	}
	for _, r := range []struct {
		what     string
		off, len int64
	}{
		{"what lies before the boot state", 0, smallsystem.BootState}, {"the boot state", smallsystem.BootState, 1 << 20},
		{"the root of slot a", smallsystem.RootA, smallsystem.RootSize}, {"what lies behind slot b", smallsystem.State, smallsystem.Size - smallsystem.State},
	} {
		b := make([]byte, r.len)
		if _, err := l.disk.ReadAt(b, r.off); err != nil {
			l.t.Fatal(err)
		}
		if !bytes.Equal(b, l.base[r.off:r.off+r.len]) {
			l.t.Errorf("%s has changed", r.what)
		}
	}
	l.boots(l.one)
}
