package disk

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func writeWhole(t *testing.T, d Disk) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return path, Write(context.Background(), f, d)
}

func TestMBRIsAcceptedBySfdisk(t *testing.T) {
	sfdisk := reftool.Need(t, "sfdisk", "fdisk")
	path, err := writeWhole(t, Disk{Seed: [32]byte{1}, MBR: true, Partitions: testPartitions()})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sfdisk, "--verify", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	out, err = exec.Command(sfdisk, "-d", path).CombinedOutput()
	if err != nil {
		t.Fatalf("sfdisk -d: %v\n%s", err, out)
	}
	for _, want := range []string{
		`label: dos`, `img1 : start= +32768, size= +131072, type=c\n`, `img2 : start= +163840, size= +1048576, type=83\n`,
		`img3 : start= +1212416, size= +1048576, type=83\n`, `img4 : start= +2260992, size= +32768, type=da\n`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("sfdisk -d does not show %s:\n%s", want, out)
		}
	}
}

func TestAnMBRTakesOnlyItsFourPartitions(t *testing.T) {
	for _, name := range []string{"bios", "data"} {
		parts := append(testPartitions(), Partition{Name: name, Type: TypeLinux, Size: 1 << 20})
		if _, err := writeWhole(t, Disk{MBR: true, Partitions: parts}); err == nil {
			t.Errorf("MBR with a partition %s: got nil, want an error", name)
		}
	}
}

func TestBlobsLieWhereTheyAreSaidAndTouchNothing(t *testing.T) {
	blob := func(at int64, n int) Blob {
		return Blob{Name: "spl", Offset: at, Data: bytes.Repeat([]byte{7}, n)}
	}
	path, err := writeWhole(t, Disk{Partitions: testPartitions(), Blobs: []Blob{blob(32<<10, 3), blob(8<<20, 1<<20)}, BootCode: []byte{0xeb}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[32<<10:][:4], []byte{7, 7, 7, 0}) || b[0] != 0xeb || b[510] != 0x55 {
		t.Errorf("at 32 KiB: % x, boot code % x", b[32<<10:][:4], b[:1])
	}
	for _, c := range []struct {
		name string
		mbr  bool
		list []Blob
	}{
		{"in the GPT", false, []Blob{blob(8<<10, 1)}},
		{"in a partition", true, []Blob{blob(15<<20-1, 2)}},
		{"in each other", true, []Blob{blob(1<<20, 100), blob(1<<20+99, 1)}},
	} {
		if _, err := writeWhole(t, Disk{MBR: c.mbr, Partitions: testPartitions(), Blobs: c.list}); err == nil {
			t.Errorf("blob %s: got nil, want an error", c.name)
		}
	}
	if _, err := writeWhole(t, Disk{MBR: true, Partitions: testPartitions(), Blobs: []Blob{blob(8<<10, 1)}}); err != nil {
		t.Errorf("blob at 8 KiB of an MBR disk: %v", err)
	}
}

func TestLayoutRefusesPlacesThatOverlap(t *testing.T) {
	for name, at := range map[string]int64{"taken": 15 << 20, "behind the gap": 16 << 20, "not aligned": 1<<20 + 512, "the table's": 512 << 10} {
		parts := append(testPartitions(), Partition{Name: "more", Size: 1 << 20, At: at})
		if _, _, err := Layout(parts); err == nil {
			t.Errorf("%s: Layout = nil, want an error", name)
		}
	}
}
