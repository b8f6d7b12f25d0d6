package disk_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/reftool"
)

func TestRenameKeepsEverythingElse(t *testing.T) {
	data := bytes.Repeat([]byte("uki"), 1000)
	files := map[string][]byte{"EFI/Linux/keelson_1_a.efi": []byte("a"), "EFI/Linux/keelson_2_b+3.efi": data, "EFI/Linux/other": []byte("c")}
	b := handmade.FAT(t, 64*mib, files)
	o := disk.NewOverlay(bytes.NewReader(b))
	p := disk.Partition{Number: 1, Size: 64 * mib}
	if err := disk.Rename(o, p, "EFI/Linux/keelson_2_b+3.efi", "keelson_2_b+2-1.efi"); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenFAT(o, p)
	if err != nil {
		t.Fatal(err)
	}
	names, err := f.List("EFI/Linux")
	slices.Sort(names)
	if want := []string{"keelson_1_a.efi", "keelson_2_b+2-1.efi", "other"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("names %q, %v, want %q", names, err, want)
	}
	if got, err := f.ReadFile("EFI/Linux/keelson_2_b+2-1.efi"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("content of %d bytes, %v, want %d", len(got), err, len(data))
	}
	whole := make([]byte, len(b))
	if _, err := o.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(image, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", image).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat -n: %v\n%s", err, out)
	}
	if err := disk.Rename(o, p, "EFI/Linux/none.efi", "x.efi"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rename of a file that is not there = %v, want fs.ErrNotExist", err)
	}
}
