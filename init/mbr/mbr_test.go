package mbr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

// small is the length of an image in sectors, large that of the disk it was written to.
const small, large = 4243456, 60<<21 + 77

var image = [4]Entry{{TypeFAT, 32768, 2097152}, {TypeLinux, 2129920, 1048576}, {TypeLinux, 3178496, 1032192}, {TypeStateFresh, 4210688, 32768}}

const bootCode = "somebody's boot loader"

// sector is an image's first sector.
func sector(p [4]Entry) []byte {
	b := make([]byte, SectorSize)
	copy(b, bootCode)
	binary.LittleEndian.PutUint32(b[signatureAt:], 0x0badcafe)
	for i, e := range p {
		x := b[entriesAt+i*entrySize:]
		x[4] = e.Type
		binary.LittleEndian.PutUint32(x[8:], e.First)
		binary.LittleEndian.PutUint32(x[12:], e.Sectors)
		if e.Used() {
			putCHS(x[1:], uint64(e.First))
			putCHS(x[5:], e.end()-1)
		}
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// disk is a first sector that remembers the writes to it.
type disk struct {
	b      []byte
	writes []int // their lengths
	synced int   // how many of them were synced
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d.b).ReadAt(p, off) }

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.writes = append(d.writes, len(p))
	return copy(d.b[off:], p), nil
}

func (d *disk) Sync() error {
	d.synced = len(d.writes)
	return nil
}

func read(t *testing.T, d *disk, length uint64) *Table {
	t.Helper()
	got, err := Read(d, length)
	if err != nil {
		t.Fatalf("Read = %v", err)
	}
	return got
}

func TestPartitionsAreNamedByPosition(t *testing.T) {
	table := read(t, &disk{b: sector(image)}, small)
	for i, name := range []string{"esp", "root-a", "root-b", "state"} {
		if n, ok := table.Find(name); n != i+1 || !ok {
			t.Errorf("Find(%s) = %d, %v, want %d, true", name, n, ok, i+1)
		}
	}
	if n, ok := table.Find("bootstate"); ok {
		t.Errorf("Find(bootstate) = %d, want none: it has no entry", n)
	}
	if n, ok := table.FindID("0badcafe-03"); n != 3 || !ok {
		t.Errorf("FindID(0badcafe-03) = %d, %v, want 3, true", n, ok)
	}
	for _, id := range []string{"", "0badcafe-05", "0badcaff-03", "0BADCAFE-03"} {
		if n, ok := table.FindID(id); ok {
			t.Errorf("FindID(%q) = %d, want none", id, n)
		}
	}
}

func TestTablesOfOthersHaveNoNames(t *testing.T) {
	change := func(f func(*[4]Entry)) [4]Entry {
		p := image
		f(&p)
		return p
	}
	for _, c := range []struct {
		name  string
		table [4]Entry
	}{
		{"a USB stick", [4]Entry{{TypeFAT, 2048, 60000}}},
		{"Windows", [4]Entry{{0x07, 2048, 100000}, {0x07, 104448, 200000}, {0x27, 304448, 2048}}},
		{"Raspberry Pi OS", [4]Entry{{TypeFAT, 8192, 524288}, {TypeLinux, 532480, 3000000}}},
		{"four partitions from 1 MiB on", change(func(p *[4]Entry) { p[0].First, p[0].Sectors = 2048, 2127872 })},
		{"an extended partition", change(func(p *[4]Entry) { p[3].Type = 0x05 })},
		{"a gap", change(func(p *[4]Entry) { p[2].First += 2048; p[2].Sectors -= 2048 })},
		{"another order", change(func(p *[4]Entry) { p[1], p[2] = p[2], p[1] })},
	} {
		table, err := Read(&disk{b: sector(c.table)}, small)
		if err != nil {
			t.Errorf("%s: Read = %v, want a table", c.name, err)
			continue
		}
		for _, name := range []string{"esp", "root-a", "root-b", "state"} {
			if n, ok := table.Find(name); ok {
				t.Errorf("%s: Find(%s) = %d, want none", c.name, name, n)
			}
		}
	}
}

func TestReadRefusesWhatCannotBeRight(t *testing.T) {
	change := func(f func(b []byte)) []byte {
		b := sector(image)
		f(b)
		return b
	}
	for _, c := range []struct {
		name   string
		sector []byte
		length uint64
		want   error
		text   string
	}{
		{"blank", make([]byte, SectorSize), small, ErrNone, "want 55aa"},
		{"wrong signature", change(func(b []byte) { b[511] = 0xab }), small, ErrNone, "ends in 55ab"},
		{"cut short", sector(image)[:100], small, io.ErrUnexpectedEOF, "sector 0"},
		{"nothing", nil, 0, io.ErrUnexpectedEOF, "sector 0"},
		{"no partitions", sector([4]Entry{}), small, ErrNone, "no partitions"},
		{"a FAT file system without a table", change(func(b []byte) { copy(b[entriesAt-40:], strings.Repeat("Non-system disk ", 6)) }), small, ErrNone, "status"},
		{"a smaller disk", sector(image), small - 1, ErrNone, "partition 4 ends in sector 4243455, but the disk has only 4243455 sectors"},
		{"overlap", sector([4]Entry{image[0], {TypeLinux, 2129919, 10}}), small, ErrNone, "partitions 1 and 2 overlap"},
		{"no length", sector([4]Entry{{TypeFAT, 2048, 0}}), small, ErrNone, "0 sectors"},
		{"over the first sector", sector([4]Entry{{TypeFAT, 0, 10}}), small, ErrNone, "from sector 0"},
		{"beyond 2 TiB", sector([4]Entry{{TypeFAT, 0xffffffff, 0xffffffff}}), small, ErrNone, "8589934589"},
		{"GPT", sector([4]Entry{{typeProtective, 1, 0xffffffff}}), small, ErrProtective, ""},
		{"hybrid", sector([4]Entry{image[0], {typeProtective, 1, 2047}}), small, ErrProtective, ""},
	} {
		table, err := Read(&disk{b: c.sector}, c.length)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: Read = %v, %v, want %v with %q", c.name, table, err, c.want, c.text)
		}
	}
}

func TestGrowFillsTheDiskAndTouchesNothingElse(t *testing.T) {
	d := &disk{b: sector(image)}
	table := read(t, d, large)
	if changed, err := table.Grow(4); !changed || err != nil {
		t.Fatalf("Grow = %v, %v, want true, nil", changed, err)
	}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	if len(d.writes) != 1 || d.writes[0] != SectorSize || d.synced != 1 {
		t.Errorf("writes of %v bytes, %d synced, want one sector, synced", d.writes, d.synced)
	}
	last := entriesAt + 3*entrySize
	if was := sector(image); !bytes.Equal(d.b[:last], was[:last]) {
		t.Error("more than the last entry has changed")
	}
	got := read(t, d, large)
	e := got.Entries[3]
	if e.Type != TypeStateFresh || e.First != image[3].First || e.end()%align != 0 || large-e.end() >= align {
		t.Errorf("state is %+v on a disk of %d sectors", e, large)
	}
	if changed, err := got.Grow(4); changed || err != nil {
		t.Errorf("second Grow = %v, %v, want false, nil", changed, err)
	}
	if n := got.Beyond(); n != 0 {
		t.Errorf("Beyond = %d, want 0", n)
	}
}

func TestGrowEndsBelowTwoTebibytes(t *testing.T) {
	const length = 6 << 31
	d := &disk{b: sector(image)}
	table := read(t, d, length)
	if changed, err := table.Grow(4); !changed || err != nil {
		t.Fatalf("Grow = %v, %v, want true, nil", changed, err)
	}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	got := read(t, d, length)
	if end := got.Entries[3].end(); end != limit {
		t.Errorf("state ends before sector %d, want %d", end, limit)
	}
	if n := got.Beyond(); n != length-1<<32 {
		t.Errorf("Beyond = %d sectors, want %d", n, uint64(length-1<<32))
	}
	if changed, err := got.Grow(4); changed || err != nil {
		t.Errorf("second Grow = %v, %v, want false, nil", changed, err)
	}
}

func TestGrowRefuses(t *testing.T) {
	table := read(t, &disk{b: sector([4]Entry{image[0], image[1], image[2]})}, large)
	for _, n := range []int{-1, 0, 1, 2, 4, 5} {
		if changed, err := table.Grow(n); err == nil {
			t.Errorf("Grow(%d) = %v, nil, want an error", n, changed)
		}
	}
}

func TestWriteKeepsABootLoaderThatCameMeanwhile(t *testing.T) {
	d := &disk{b: sector(image)}
	table := read(t, d, small)
	copy(d.b, "another boot loader   ")
	table.Entries[3].Type = TypeLinux
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(d.b, []byte("another boot loader")) {
		t.Errorf("boot code is %q", d.b[:30])
	}
	table.Entries[3].Type = TypeStateFormatting
	if err := table.Write(d); err != nil {
		t.Errorf("second Write of one table = %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*Table, *disk)
	}{
		{"a table that is not the one that was read", func(_ *Table, d *disk) { d.b[signatureAt]++ }},
		{"where there is none by now", func(_ *Table, d *disk) { clear(d.b) }},
		{"an overlap", func(t *Table, _ *disk) { t.Entries[2].Sectors++ }},
		{"more than the disk has", func(t *Table, _ *disk) { t.Entries[3].Sectors++ }},
	} {
		d := &disk{b: sector(image)}
		table := read(t, d, small)
		c.do(table, d)
		before := bytes.Clone(d.b)
		if err := table.Write(d); err == nil {
			t.Errorf("%s: Write = nil, want an error", c.name)
		}
		if !bytes.Equal(d.b, before) {
			t.Errorf("%s: something was written", c.name)
		}
	}
}

// TestSfdiskAcceptsWhatWasWritten also lets sfdisk make the table that is read.
func TestSfdiskAcceptsWhatWasWritten(t *testing.T) {
	sfdisk := reftool.Need(t, "sfdisk", "fdisk")
	for _, c := range []struct {
		name   string
		length int64
		size   string // of the state partition afterwards, in sectors
	}{{"64 GB", large, "121618432"}, {"3 TiB", 6 << 30, "4290754560"}} {
		path := filepath.Join(t.TempDir(), "disk")
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(c.length * SectorSize); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(sfdisk, "-q", path)
		cmd.Stdin = strings.NewReader("label: dos\nlabel-id: 0x0badcafe\n" +
			"start=32768, size=2097152, type=c\nsize=1048576, type=83\nsize=1032192, type=83\nsize=32768, type=da\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: sfdisk: %v\n%s", c.name, err, out)
		}
		table, err := Read(f, uint64(c.length))
		if err != nil {
			t.Fatalf("%s: Read of what sfdisk made: %v", c.name, err)
		}
		if table.Entries != image {
			t.Errorf("%s: sfdisk made %+v, want %+v", c.name, table.Entries, image)
		}
		if _, err := table.Grow(4); err != nil {
			t.Fatal(err)
		}
		table.Entries[3].Type = TypeLinux
		if err := table.Write(f); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(sfdisk, "--verify", path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "No errors detected") {
			t.Errorf("%s: sfdisk --verify: %v\n%s", c.name, err, out)
		}
		out, err = exec.Command(sfdisk, "-d", path).Output()
		if want := "start=     4210688, size=  "; err != nil || !strings.Contains(string(out), want) ||
			!strings.Contains(string(out), c.size+", type=83") || !strings.Contains(string(out), "label-id: 0x0badcafe") {
			t.Errorf("%s: sfdisk -d: %v\n%s\nwant %q", c.name, err, out, want+c.size)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sector(image), uint64(large), byte(4), byte(TypeLinux))
	f.Add(sector([4]Entry{{TypeFAT, 0xffffffff, 0xffffffff}}), uint64(1<<40), byte(1), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, length uint64, n, kind byte) {
		length %= 1 << 54 // as many sectors have a size in bytes
		d := &disk{b: bytes.Clone(b)}
		table, err := Read(d, length)
		if err != nil {
			return
		}
		table.Find("state")
		table.FindID("0badcafe-04")
		number := int(n)%entries + 1
		if _, err := table.Grow(number); err != nil {
			return
		}
		if kind != 0 && kind != typeProtective {
			table.Entries[number-1].Type = kind
		}
		if err := table.Write(d); err != nil {
			t.Fatalf("Write of what was read and grown: %v", err)
		}
		if !bytes.Equal(d.b[:entriesAt], b[:entriesAt]) || !bytes.Equal(d.b[SectorSize:], b[SectorSize:]) {
			t.Error("something outside of the table has changed")
		}
		again, err := Read(d, length)
		if err != nil || again.Entries != table.Entries {
			t.Errorf("Read of what was written: %+v, %v, want %+v", again, err, table.Entries)
		}
	})
}
