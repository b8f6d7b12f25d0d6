package gpt

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

// memory is a disk in memory that can lose power after a number of written bytes.
type memory struct {
	b    []byte
	left int // bytes that may still be written
}

var errPower = errors.New("power cut")

func (m *memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m.b).ReadAt(p, off) }
func (m *memory) Sync() error                             { return nil }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), m.left)
	copy(m.b[off:], p[:n])
	m.left -= n
	if n < len(p) {
		return n, errPower
	}
	return n, nil
}

const small, large = LBA(40 << 11), LBA(100<<11 + 77)

// image returns a table as the image builder makes it: on a disk of the small size, the
// state partition last.
func image() *Table {
	t := &Table{DiskID: GUID{1, 2, 3}, Entries: make([]Entry, 128), firstUsable: 34, lastUsable: small - 34, backup: small - 1}
	for i, p := range []struct {
		name        string
		first, last LBA
	}{{"esp", 32768, 34815}, {"bootstate", 34816, 36863}, {"root-a", 36864, 40959}, {"root-b", 40960, 45055}, {"state", 45056, 77823}} {
		e := Entry{Type: GUID{9}, ID: GUID{byte(i + 1), 0xaa}, First: p.first, Last: p.last, Name: p.name}
		for j, c := range []byte(p.name) {
			e.rawName[2*j] = c
		}
		t.Entries[i] = e
	}
	return t
}

func newDisk(t *testing.T) *memory {
	t.Helper()
	d := &memory{b: make([]byte, small*SectorSize), left: 1 << 30}
	d.b[446+4] = 0xee
	d.b[446+8] = 1
	d.b[510], d.b[511] = 0x55, 0xaa
	if err := image().Write(d); err != nil {
		t.Fatal(err)
	}
	return d
}

// resize is what flashing the image to a disk of another size does.
func (m *memory) resize(n LBA) *memory {
	b := make([]byte, n*SectorSize)
	copy(b, m.b)
	return &memory{b: b, left: 1 << 30}
}

func TestReadFindsPartitions(t *testing.T) {
	d := newDisk(t)
	got, err := Read(d, small)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := got.Find("state"); n != 5 || !ok || got.FromBackup {
		t.Errorf("Find(state) = %d, %v, from backup %v; want 5, true, false", n, ok, got.FromBackup)
	}
	if n, ok := got.FindID("00aa0002-0000-0000-0000-000000000000"); ok {
		t.Errorf("FindID of a wrong id = %d", n)
	}
	if n, ok := got.FindID(got.Entries[1].ID.String()); n != 2 || !ok {
		t.Errorf("FindID = %d, %v, want 2, true", n, ok)
	}
	if _, ok := got.Find("nobody"); ok {
		t.Error("Find(nobody) found something")
	}
}

func TestGUIDString(t *testing.T) {
	esp := GUID{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	if got, want := esp.String(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
}

func TestReadFallsBackToTheBackup(t *testing.T) {
	for name, off := range map[string]int{"header": SectorSize + 20, "entries": 2*SectorSize + 3} {
		d := newDisk(t)
		d.b[off] ^= 1
		got, err := Read(d, small)
		if err != nil || !got.FromBackup {
			t.Errorf("%s damaged: Read = %v, %v, want the backup", name, got, err)
			continue
		}
		if err := got.Write(d); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(d, small); err != nil || got.FromBackup {
			t.Errorf("%s damaged and written back: Read = %v, %v, want the primary", name, got, err)
		}
	}
}

func TestReadRefusesADiskWithout(t *testing.T) {
	if _, err := Read(&memory{b: make([]byte, small*SectorSize)}, small); !errors.Is(err, ErrNone) {
		t.Errorf("Read of a blank disk = %v, want ErrNone", err)
	}
	if _, err := Read(&memory{}, 0); !errors.Is(err, ErrNone) {
		t.Errorf("Read of no disk = %v, want ErrNone", err)
	}
	if _, err := Read(&memory{b: make([]byte, 600)}, small); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read of a disk cut short = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestGrowFillsTheDisk(t *testing.T) {
	d := newDisk(t).resize(large)
	table, err := Read(d, large)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := table.Grow(5, large)
	if err != nil || !changed {
		t.Fatalf("Grow = %v, %v, want true, nil", changed, err)
	}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	got, err := Read(d, large)
	if err != nil {
		t.Fatal(err)
	}
	e := got.Entries[4]
	if e.First != 45056 || (e.Last+1)%align != 0 || large-e.Last > 33+align+1 {
		t.Errorf("state is [%d, %d] of %d sectors", e.First, e.Last, large)
	}
	for i, want := range image().Entries[:4] {
		if got.Entries[i] != want {
			t.Errorf("partition %d = %+v, want %+v", i+1, got.Entries[i], want)
		}
	}
	if changed, err := got.Grow(5, large); changed || err != nil {
		t.Errorf("second Grow = %v, %v, want false, nil", changed, err)
	}
}

func TestGrowRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		number int
		length LBA
	}{{"a partition in the middle", 3, large}, {"one that is not there", 6, large}, {"zero", 0, large}, {"a smaller disk", 5, 70000}} {
		if changed, err := image().Grow(c.number, c.length); err == nil {
			t.Errorf("%s: Grow(%d, %d) = %v, nil, want an error", c.name, c.number, c.length, changed)
		}
	}
}

func TestWriteSurvivesAPowerCutAnywhere(t *testing.T) {
	before := newDisk(t).resize(large)
	for cut := 0; ; cut += 256 {
		d := &memory{b: bytes.Clone(before.b), left: cut}
		table, err := Read(d, large)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Grow(5, large); err != nil {
			t.Fatal(err)
		}
		werr := table.Write(d)
		got, err := Read(d, large)
		if err != nil {
			t.Fatalf("cut after %d bytes: Read = %v", cut, err)
		}
		if last := got.Entries[4].Last; last != 77823 && last != table.Entries[4].Last {
			t.Fatalf("cut after %d bytes: state ends in %d, want the old or the new end", cut, last)
		}
		if werr == nil {
			return
		}
		if !errors.Is(werr, errPower) {
			t.Fatal(werr)
		}
	}
}

func TestSgdiskAcceptsWhatWasWritten(t *testing.T) {
	sgdisk := reftool.Need(t, "sgdisk", "gdisk")
	d := newDisk(t).resize(large)
	table, err := Read(d, large)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Grow(5, large); err != nil {
		t.Fatal(err)
	}
	table.Entries[4].Attributes = 1 << 56
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, d.b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sgdisk, "-v", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

func FuzzRead(f *testing.F) {
	d := &memory{b: make([]byte, small*SectorSize), left: 1 << 30}
	if err := image().Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.b[:40*SectorSize], uint16(24))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		// Checksums are made right, so that what lies behind them is reached.
		disk := &memory{b: fixed(b), left: 1 << 30}
		length := LBA(len(disk.b) / SectorSize)
		table, err := Read(disk, length)
		if err != nil {
			return
		}
		table.Find("state")
		if _, err := table.Grow(int(at)%len(table.Entries)+1, length); err != nil {
			return
		}
		if err := table.Write(disk); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(disk, length); err != nil {
			t.Errorf("Read of what was written: %v", err)
		}
	})
}
