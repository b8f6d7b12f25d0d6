package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keelson-os/keelson/flash/drive"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/tests/reftool"
	"github.com/keelson-os/keelson/tests/smallimage"
)

// disk is a disk in memory with an old content and a fault to come.
type disk struct {
	b       []byte
	left    int64 // bytes that can still be written before fail happens
	fail    error
	canZero bool
	flip    int64 // a byte that is stored wrongly; -1: none
	zeroed  int64
}

// newDisk returns a disk full of an old content, with an old partition table and its copy.
func newDisk(n int64) *disk {
	return &disk{b: bytes.Repeat([]byte("EFI PART old \xff"), int(n/14)+1)[:n], left: 1 << 62, flip: -1}
}

func (d *disk) Path() string         { return "/dev/test" }
func (d *disk) Size() int64          { return int64(len(d.b)) }
func (d *disk) Sync() error          { return nil }
func (d *disk) Blank() (bool, error) { return false, nil }

func (d *disk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d.b).ReadAt(p, off) }

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.Size() || off%512 != 0 || len(p)%512 != 0 {
		return 0, fmt.Errorf("write of %d bytes at %d: a raw disk takes whole sectors", len(p), off)
	}
	n := min(int64(len(p)), d.left)
	copy(d.b[off:], p[:n])
	d.left -= n
	if d.flip >= off && d.flip < off+n {
		d.b[d.flip] ^= 1
	}
	if n < int64(len(p)) {
		return int(n), &os.PathError{Op: "write", Path: d.Path(), Err: d.fail}
	}
	return len(p), nil
}

func (d *disk) Zero(off, n int64) error {
	if !d.canZero {
		return os.NewSyscallError("ioctl", syscall.ENOTTY)
	}
	clear(d.b[off:][:n])
	d.zeroed += n
	return nil
}

// check compares a disk with the image and looks at its partition table.
func check(t *testing.T, d io.ReaderAt, size int64, raw string, mbr bool) {
	t.Helper()
	got := make([]byte, size)
	if _, err := d.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	// The tables of a GPT disk grow; all else is as in the image.
	from, to := int64(34*512), int64(imageSize)
	if mbr || size == imageSize {
		from = 0
	}
	if i := firstDifference(got[from:to], want[from:to]); i >= 0 {
		t.Errorf("byte %d of the disk differs from the image", from+int64(i))
	}
	table, err := parttable.Read(bytes.NewReader(got), size)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := table.Find("state")
	off, length := table.Extent(n)
	switch {
	case !ok || off != 68*mib:
		t.Errorf("the state partition is at byte %d, %v", off, ok)
	case !mbr && size-off-length > 2*mib:
		t.Errorf("the state partition ends at byte %d of %d", off+length, size)
	}
	if mbr {
		return
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, got, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(reftool.Need(t, "sgdisk", "gdisk"), "-v", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

func TestAnImageIsOnTheDiskAfterwards(t *testing.T) {
	for _, mbr := range []bool{false, true} {
		raw := newImage(t, imageOptions{mbr: mbr})
		for _, path := range []string{raw, smallimage.Compress(t, raw)} {
			for _, size := range []int64{imageSize, 150*mib + 512*7} {
				for _, canZero := range []bool{false, true} {
					t.Run(fmt.Sprintf("mbr=%v %s %d zero=%v", mbr, filepath.Ext(path), size, canZero), func(t *testing.T) {
						d := newDisk(size)
						d.canZero = canZero
						r, err := Write(t.Context(), openImage(t, path), d, Options{Now: noon}, quiet{})
						if err != nil {
							t.Fatal(err)
						}
						if r.Bytes != imageSize || r.Zeros != d.zeroed || canZero == (r.Zeros == 0) {
							t.Errorf("Result = %+v, the disk zeroed %d", r, d.zeroed)
						}
						check(t, d, size, raw, mbr)
						if bytes.Contains(d.b[size-mib:], []byte("EFI PART old")) {
							t.Error("the end of the disk still has the old table's copy")
						}
					})
				}
			}
		}
	}
}

// Wherever a write stops, the disk has no partition table, the error says what to do, and
// the same command repairs it.
func TestAWriteThatStopsLeavesNoTableAndIsRepairedByAnother(t *testing.T) {
	raw := newImage(t, imageOptions{})
	img := openImage(t, raw)
	const size = 150 * mib
	for name, fail := range map[string]struct {
		err  error
		want string
	}{
		"full": {syscall.ENOSPC, "no room"}, "gone": {syscall.ENODEV, "pulled out"}, "no address": {syscall.ENXIO, "pulled out"},
		"failing": {syscall.EIO, "defective"}, "something else": {syscall.EROFS, "read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			places := []int64{40 * mib}
			if fail.err == syscall.ENOSPC {
				places = []int64{0, 4096, mib + 1, 3 * mib, 40 * mib, 86*mib - 4096, 86*mib + 512, 86*mib + 17*1024, 86*mib + 200_000, 87 * mib}
			}
			for _, left := range places {
				d := newDisk(size)
				d.left, d.fail = left, fail.err
				_, err := Write(t.Context(), img, d, Options{}, quiet{})
				if !errors.Is(err, fail.err) || !strings.Contains(err.Error(), fail.want) || !strings.Contains(err.Error(), "again") {
					t.Fatalf("after %d bytes: Write = %v, want %v, %q and that another run repairs", left, err, fail.err, fail.want)
				}
				if _, err := parttable.Read(bytes.NewReader(d.b), size); err == nil {
					t.Errorf("after %d bytes: the disk looks finished", left)
				}
				d.left = 1 << 62
				if _, err := Write(t.Context(), img, d, Options{}, quiet{}); err != nil {
					t.Fatal(err)
				}
				check(t, d, size, raw, false)
			}
		})
	}
}

func TestAnInterruptedWriteLeavesNoTable(t *testing.T) {
	img := openImage(t, newImage(t, imageOptions{}))
	d := newDisk(imageSize)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Write(ctx, img, d, Options{}, &cancelling{cancel, 20 * mib})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "again") {
		t.Errorf("Write = %v, want context.Canceled", err)
	}
	if _, err := parttable.Read(bytes.NewReader(d.b), imageSize); err == nil {
		t.Error("the disk has a partition table")
	}
}

// cancelling is a user who presses Ctrl-C.
type cancelling struct {
	cancel func()
	at     int64
}

func (c *cancelling) Step(string, int64) {}
func (c *cancelling) Done(n int64) {
	if n >= c.at {
		c.cancel()
	}
}

func TestReadingBackFindsTheFirstWrongByte(t *testing.T) {
	img := openImage(t, newImage(t, imageOptions{}))
	for _, at := range []int64{mib, 52*mib + 12_345, imageSize - 1, 40_000, 149 * mib} {
		d := newDisk(150 * mib)
		d.flip = at
		_, err := Write(t.Context(), img, d, Options{}, quiet{})
		var differ *DifferError
		switch {
		case at == 149*mib: // behind the image: nothing that matters is there
			if err != nil {
				t.Errorf("byte %d: Write = %v", at, err)
			}
		case !errors.As(err, &differ) || differ.At != at:
			t.Errorf("byte %d stored wrongly: Write = %v, want that byte", at, err)
		}
	}
	d := newDisk(imageSize)
	d.flip = 52 * mib
	if _, err := Write(t.Context(), img, d, Options{NoVerify: true}, quiet{}); err != nil {
		t.Errorf("Write without reading back = %v", err)
	}
}

func TestAnImageThatChangesMeanwhileIsNoticed(t *testing.T) {
	raw := newImage(t, imageOptions{})
	packed := smallimage.Compress(t, raw)
	img := openImage(t, packed)
	b, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packed, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDisk(imageSize)
	if _, err := Write(t.Context(), img, d, Options{}, quiet{}); !errors.Is(err, ErrNotImage) {
		t.Errorf("Write = %v, want ErrNotImage", err)
	}
	if _, err := parttable.Read(bytes.NewReader(d.b), imageSize); err == nil {
		t.Error("the disk has a partition table")
	}
}

func TestPerNodeValuesAreOnTheDiskOnly(t *testing.T) {
	raw := newImage(t, imageOptions{config: lab(t)})
	before, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{raw, smallimage.Compress(t, raw)} {
		img := openImage(t, path)
		for _, name := range []string{"node-1", "node-2"} {
			files, err := img.NodeFiles(t.Context(), Change{Hostname: name, Set: []string{"cluster.node-label=[room=" + name + "]"}})
			if err != nil {
				t.Fatal(err)
			}
			d := newDisk(150 * mib)
			if _, err := Write(t.Context(), img, d, Options{Files: files, Now: noon}, quiet{}); err != nil {
				t.Fatal(err)
			}
			b, err := OpenBoot(d, d.Size())
			if err != nil {
				t.Fatal(err)
			}
			text, err := b.ReadConfig()
			if err != nil || !strings.Contains(string(text), "hostname: "+name+"\n") || !strings.Contains(string(text), "  node-label: [room="+name+"]\n") {
				t.Errorf("keelson.yaml = %s, %v", text, err)
			}
			fsck(t, d.b[16*mib:50*mib])
		}
	}
	if after, err := os.ReadFile(raw); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image changed, %v", err)
	}
}

func fsck(t *testing.T, volume []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(path, volume, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", path).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
}

// A regular file takes a disk's place: an ordinary user can do all this, and holes stay holes.
func TestARegularFileCanTakeADisksPlace(t *testing.T) {
	raw := newImage(t, imageOptions{})
	img := openImage(t, smallimage.Compress(t, raw))
	for _, size := range []int64{0, 200 * mib, 200*mib + 1536} {
		path := filepath.Join(t.TempDir(), "disk.img")
		if size > 0 {
			if err := os.WriteFile(path, bytes.Repeat([]byte{0xaa}, int(size)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found, err := drive.Find(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := found.Check(img.Size, nil); err != nil {
			t.Fatal(err)
		}
		dev, err := found.Open(t.Context(), img.Size, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), img, dev, Options{}, quiet{}); err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			size = img.Size
		}
		if dev.Size() != size {
			t.Errorf("the file has %d bytes, want %d", dev.Size(), size)
		}
		check(t, dev, size, raw, false)
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
		stored, ok := storedBytes(t, path)
		if ok && stored > 30*mib {
			t.Errorf("%d bytes are stored of a file whose content is 12 MiB", stored)
		}
	}
}

func TestATooSmallTargetIsRefusedUntouched(t *testing.T) {
	img := openImage(t, newImage(t, imageOptions{}))
	d := newDisk(imageSize - 512)
	if _, err := Write(t.Context(), img, d, Options{}, quiet{}); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("Write = %v, want that it is too small", err)
	}
	if !bytes.HasPrefix(d.b, []byte("EFI PART old")) {
		t.Error("the disk was written to")
	}
}
