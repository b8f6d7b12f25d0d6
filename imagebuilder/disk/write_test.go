package disk

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func writeText(text string, at int64) func(context.Context, io.WriterAt) error {
	return func(_ context.Context, w io.WriterAt) error {
		_, err := w.WriteAt([]byte(text), at)
		return err
	}
}

func testPartitions() []Partition {
	return []Partition{
		{Name: "esp", Type: TypeESP, Size: 64 << 20, Write: writeText("esp starts here", 0)},
		{Name: "bootstate", Type: TypeBootState, Size: 1 << 20, At: 15 << 20},
		{Name: "root-a", Type: TypeRootAMD64, Size: 512 << 20, Write: writeText("end", 512<<20-3)},
		{Name: "root-b", Type: TypeRootAMD64, Size: 512 << 20},
		{Name: "state", Type: TypeLinux, Size: 16 << 20},
	}
}

func writeDisk(t *testing.T, seed [32]byte, partitions []Partition) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(context.Background(), f, Disk{Seed: seed, Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWriteIsAcceptedBySgdisk(t *testing.T) {
	sgdisk := reftool.Need(t, "sgdisk", "gdisk")
	path := writeDisk(t, [32]byte{1}, testPartitions())
	out, err := exec.Command(sgdisk, "-v", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	out, err = exec.Command(sgdisk, "-p", "-i", "2", path).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk -p: %v\n%s", err, out)
	}
	for _, want := range []string{"esp", "bootstate", "root-a", "root-b", "state", TypeBootState} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sgdisk -p -i 2 does not show %s:\n%s", want, out)
		}
	}
}

func TestWritePutsContentInItsPartitionAndStaysSparse(t *testing.T) {
	path := writeDisk(t, [32]byte{1}, testPartitions())
	extents, size, err := Layout(testPartitions())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 15)
	if _, err := f.ReadAt(b, 16<<20); err != nil || string(b) != "esp starts here" {
		t.Errorf("at 16 MiB: %q, %v", b, err)
	}
	if _, err := f.ReadAt(b[:3], extents[2].Offset+extents[2].Size-3); err != nil || string(b[:3]) != "end" {
		t.Errorf("end of root-a: %q, %v", b[:3], err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes, %d of them allocated; want %d and less than 1 MiB", st.Size, st.Blocks*512, size)
	}
}

func TestWriteGivesSameBytesForSameSeedOnly(t *testing.T) {
	read := func(seed byte) []byte {
		b, err := os.ReadFile(writeDisk(t, [32]byte{seed}, testPartitions()[:2]))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a := read(1)
	if !bytes.Equal(a, read(1)) {
		t.Error("same seed: bytes differ")
	}
	if bytes.Equal(a, read(2)) {
		t.Error("other seed: same bytes")
	}
}

func TestWriteRefusesContentBehindThePartition(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{1<<20 - 1, 1 << 20, -1} {
		err := Write(context.Background(), f, Disk{Partitions: []Partition{{Name: "a", Type: TypeLinux, Size: 1 << 20, Write: writeText("xx", at)}}})
		if err == nil {
			t.Errorf("write of 2 bytes at %d of 1 MiB: got nil, want an error", at)
		}
	}
	if err := Write(context.Background(), f, Disk{Partitions: []Partition{{Name: "a", Type: TypeLinux, Size: 1000}}}); err == nil {
		t.Error("partition of 1000 bytes: got nil, want an error")
	}
}

func TestCopySparseLeavesHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 10<<20+77)
	data[5<<20] = 1
	data[len(data)-1] = 2
	if err := f.Truncate(int64(len(data))); err != nil {
		t.Fatal(err)
	}
	n, err := CopySparse(context.Background(), f, bytes.NewReader(data))
	if err != nil || n != int64(len(data)) {
		t.Fatalf("CopySparse = %d, %v; want %d", n, err, len(data))
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("copy differs")
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 > 256<<10 {
		t.Errorf("%d bytes allocated, want two blocks of 64 KiB", st.Blocks*512)
	}
}
