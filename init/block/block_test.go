package block

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func file(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDisksAreRealAndHaveAMedium(t *testing.T) {
	sys := t.TempDir()
	for name, size := range map[string]string{"sda": "2048\n", "nvme0n1": "4096\n", "loop0": "8\n", "dm-0": "8\n", "zram0": "8\n", "sdb": "0\n", "cciss!c0d0": "16\n",
		"mmcblk1": "8192\n", "mmcblk1boot0": "8192\n", "mmcblk1boot1": "8192\n", "mmcblk1rpmb": "1024\n", "mtdblock0": "32768\n"} {
		file(t, filepath.Join(sys, "block", name, "size"), size)
	}
	file(t, filepath.Join(sys, "block", "nvme0n1", "queue", "logical_block_size"), "4096\n")
	got, err := Disks(sys)
	want := []Disk{{"cciss!c0d0", "/dev/cciss/c0d0", 8192, 512}, {"mmcblk1", "/dev/mmcblk1", 4 << 20, 512},
		{"nvme0n1", "/dev/nvme0n1", 2 << 20, 4096}, {"sda", "/dev/sda", 1 << 20, 512}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Disks = %+v, %v, want %+v", got, err, want)
	}
}

func TestPartitionIsFoundByNumber(t *testing.T) {
	sys := t.TempDir()
	file(t, filepath.Join(sys, "block", "nvme0n1", "nvme0n1p1", "partition"), "1\n")
	file(t, filepath.Join(sys, "block", "nvme0n1", "nvme0n1p15", "partition"), "15\n")
	if dev, err := Partition(sys, "nvme0n1", 15); dev != "/dev/nvme0n1p15" || err != nil {
		t.Errorf("Partition 15 = %q, %v", dev, err)
	}
	// The parts of an eMMC chip are folders of the disk, as partitions are.
	file(t, filepath.Join(sys, "block", "mmcblk0", "mmcblk0boot0", "size"), "8192\n")
	file(t, filepath.Join(sys, "block", "mmcblk0", "mmcblk0p4", "partition"), "4\n")
	if dev, err := Partition(sys, "mmcblk0", 4); dev != "/dev/mmcblk0p4" || err != nil {
		t.Errorf("Partition 4 of an eMMC chip = %q, %v", dev, err)
	}
	if _, err := Partition(sys, "nvme0n1", 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Partition 5 = %v, want os.ErrNotExist", err)
	}
}
