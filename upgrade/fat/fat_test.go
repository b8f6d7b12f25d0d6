package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	builder "github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/tests/reftool"
)

var noon = time.Date(2026, 3, 4, 12, 30, 20, 0, time.UTC)

func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// volume makes a volume as the image builder does, with these files and others around them.
func volume(t testing.TB, size int64, files map[string][]byte) string {
	t.Helper()
	list := []builder.File{}
	all := map[string][]byte{"EFI/Linux/keelson_1+3.efi": content(1, 300_000), "images/app.tar": content(2, 70_000), "zlast.bin": content(3, 5000)}
	for name, b := range files {
		all[name] = b
	}
	for name, b := range all {
		list = append(list, builder.File{Path: name, Size: int64(len(b)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
	}
	path := filepath.Join(t.TempDir(), "esp")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := builder.Write(context.Background(), f, builder.Volume{Size: size, Label: "KEELSON", ID: 7, Time: noon}, list); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) (*Volume, *os.File) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v, f
}

// check runs the reference checker, and compares the file with what another program reads
// and the rest of the volume with what it was.
func check(t *testing.T, path, name string, want []byte) {
	t.Helper()
	if out, err := exec.Command(reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", "-v", path).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat -n: %v\n%s", err, out)
	}
	mcopy := reftool.Need(t, "mcopy", "mtools")
	dir := t.TempDir()
	if out, err := exec.Command(mcopy, "-s", "-n", "-i", path, "::*", dir).CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	for n, b := range map[string][]byte{name: want, "zlast.bin": content(3, 5000), "images/app.tar": content(2, 70_000)} {
		got, err := os.ReadFile(filepath.Join(dir, n))
		if b == nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", n, err)
			}
		} else if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: mtools reads %d bytes, %v; want %d", n, len(got), err, len(b))
		}
	}
}

func TestFilesAreReplacedAndMadeAsCheckersWant(t *testing.T) {
	for _, size := range []int64{34 << 20, 64 << 20, 1 << 30} {
		t.Run(fmt.Sprint(size>>20, "MiB"), func(t *testing.T) {
			path := volume(t, size, map[string][]byte{"keelson.yaml": content(4, 3000)})
			for _, n := range []int{3000, 100, 20_000, 0, 4097, 1 << 20} {
				v, _ := open(t, path)
				want := content(uint64(n), n)
				if err := v.WriteFile("keelson.yaml", want, noon); err != nil {
					t.Fatal(err)
				}
				if got, err := v.ReadFile("KEELSON.YAML"); err != nil || !bytes.Equal(got, want) {
					t.Errorf("ReadFile = %d bytes, %v, want %d", len(got), err, n)
				}
				check(t, path, "keelson.yaml", want)
			}
			if out, err := exec.Command(reftool.Need(t, "mdel", "mtools"), "-i", path, "::keelson.yaml").CombinedOutput(); err != nil {
				t.Fatalf("mdel: %v\n%s", err, out)
			}
			v, _ := open(t, path)
			check(t, path, "keelson.yaml", nil)
			if _, err := v.ReadFile("keelson.yaml"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ReadFile of a removed file = %v, want fs.ErrNotExist", err)
			}
			for k := range 40 { // more than a cluster of 512 bytes, and more than one of 4096, has room for
				name := fmt.Sprintf("a-longer-name-than-fits-%d.yaml", k)
				if err := v.WriteFile(name, content(uint64(k), 700), noon); err != nil {
					t.Fatal(err)
				}
			}
			check(t, path, "a-longer-name-than-fits-39.yaml", content(39, 700))
		})
	}
}

func TestReplacedFilesLeaveNothingBehind(t *testing.T) {
	secret := bytes.Repeat([]byte("BEGIN PRIVATE KEY"), 600)
	path := volume(t, 34<<20, map[string][]byte{"secrets.yaml": secret})
	v, _ := open(t, path)
	if err := v.WriteFile("secrets.yaml", []byte("new"), noon); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, secret[:17]) {
		t.Error("the old secrets are still on the volume")
	}
}

func TestAFullVolumeIsLeftAlone(t *testing.T) {
	path := volume(t, 34<<20, map[string][]byte{"keelson.yaml": []byte("old"), "fill": make([]byte, 33<<20)})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := open(t, path)
	if err := v.WriteFile("keelson.yaml", content(1, 2<<20), noon); !errors.Is(err, ErrFull) {
		t.Fatalf("WriteFile = %v, want ErrFull", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the volume changed, %v", err)
	}
}

func TestAVolumeOpenedForReadingCannotBeChanged(t *testing.T) {
	path := volume(t, 34<<20, map[string][]byte{"keelson.yaml": []byte("old")})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.WriteFile("keelson.yaml", nil, noon); !errors.Is(err, ErrReadOnly) {
		t.Errorf("WriteFile = %v, want ErrReadOnly", err)
	}
}

// cutDisk loses power after a number of writes.
type cutDisk struct {
	b    []byte
	left int
}

var errCut = errors.New("power cut")

func (d *cutDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.b).ReadAt(p, off)
}

func (d *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.left--; d.left < 0 {
		return 0, errCut
	}
	return copy(d.b[off:], p), nil
}

func (d *cutDisk) Sync() error { return nil }

func TestAPowerCutLeavesTheOldFileOrTheNewOne(t *testing.T) {
	old, replacement := content(8, 3000), content(9, 9000)
	path := volume(t, 34<<20, map[string][]byte{"keelson.yaml": old})
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for cut := 0; ; cut++ {
		d := &cutDisk{b: bytes.Clone(before), left: cut}
		v, err := Open(d, int64(len(d.b)))
		if err != nil {
			t.Fatal(err)
		}
		werr := v.WriteFile("keelson.yaml", replacement, noon)
		if v, err = Open(bytes.NewReader(d.b), int64(len(d.b))); err != nil {
			t.Fatal(err)
		}
		got, err := v.ReadFile("keelson.yaml")
		switch {
		case err == nil && bytes.Equal(got, old):
			seen["old"] = true
		case err == nil && bytes.Equal(got, replacement):
			seen["new"] = true
		default:
			t.Fatalf("cut after %d writes: ReadFile = %d bytes, %v", cut, len(got), err)
		}
		if werr == nil {
			break
		}
		if !errors.Is(werr, errCut) {
			t.Fatal(werr)
		}
	}
	if len(seen) != 2 {
		t.Errorf("seen %v, want both", seen)
	}
}

func TestOpenRefusesWhatIsNoFAT32(t *testing.T) {
	b, err := os.ReadFile(volume(t, 34<<20, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(b []byte){
		"no signature":      func(b []byte) { b[510] = 0 },
		"4096-byte sectors": func(b []byte) { binary.LittleEndian.PutUint16(b[11:], 4096) },
		"FAT16":             func(b []byte) { binary.LittleEndian.PutUint16(b[22:], 100) },
		"no tables":         func(b []byte) { b[16] = 0 },
		"too many sectors":  func(b []byte) { binary.LittleEndian.PutUint32(b[32:], 1<<31) },
		"few clusters":      func(b []byte) { b[13] = 128 },
	} {
		bad := bytes.Clone(b)
		change(bad)
		if _, err := Open(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Open = %v, want ErrFormat", name, err)
		}
	}
	if _, err := Open(bytes.NewReader(b[:100]), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Open of 100 bytes = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestNamesThatOthersShowOtherwiseAreRefused(t *testing.T) {
	v, _ := open(t, volume(t, 34<<20, nil))
	for _, name := range []string{"", ".", "a/b", "a b", "ü", ".hidden", "dot.", strings.Repeat("a", 101)} {
		if err := v.WriteFile(name, nil, noon); err == nil {
			t.Errorf("WriteFile(%q) = nil, want an error", name)
		}
	}
}

// overlay puts a changed beginning over a volume.
type overlay struct {
	b   []byte
	top []byte
}

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(o.b).ReadAt(p, off)
	if off < int64(len(o.top)) {
		copy(p[:n], o.top[off:])
	}
	return n, err
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }
func (o *overlay) Sync() error                              { return nil }

// The fuzzer changes the boot sector, the start of the FAT, and the root directory.
func FuzzVolume(f *testing.F) {
	b, err := os.ReadFile(volume(f, 34<<20, map[string][]byte{"keelson.yaml": content(4, 3000)}))
	if err != nil {
		f.Fatal(err)
	}
	v, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:sectorSize], b[v.tableAt:][:512], b[v.data:][:512])
	f.Fuzz(func(t *testing.T, boot, table, root []byte) {
		o := &overlay{b: b, top: bytes.Clone(b[:v.data+4096])}
		copy(o.top[:sectorSize], boot)
		copy(o.top[v.tableAt:v.tableAt+v.tableLen], table)
		copy(o.top[v.data:], root)
		got, err := Open(o, int64(len(b)))
		if err != nil {
			return
		}
		_, _ = got.ReadFile("keelson.yaml")
		_ = got.WriteFile("keelson.yaml", content(5, 2000), noon)
		_ = got.WriteFile("new-file.yaml", content(5, 2000), noon)
	})
}
