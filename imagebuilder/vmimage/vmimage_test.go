package vmimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/reftool"
)

const diskSize = 48 << 20

// disk writes a raw disk with data at its ends and between holes.
func disk(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{1})
	for _, at := range []int64{0, 5<<20 + 512, diskSize - 4096} {
		data := make([]byte, 4096)
		random.Read(data)
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(reftool.Need(t, "qemu-img", "qemu-utils"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write makes an image as package imagebuilder does: into an empty file of another name.
func write(t *testing.T, f Format, raw, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "."+name+".part")
	switch f {
	case VHD:
		data, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := AppendFooter(w, diskSize, [16]byte{1, 2, 3}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
			t.Fatal(err)
		}
	default:
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Convert(context.Background(), f, raw, file, name, 0xbeef); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func TestEveryFormatHoldsTheDisk(t *testing.T) {
	reftool.Need(t, "qemu-img", "qemu-utils")
	raw := disk(t)
	for f, driver := range map[Format]string{QCOW2: "qcow2", VMDK: "vmdk", VHD: "vpc"} {
		t.Run(string(f), func(t *testing.T) {
			name := "node" + f.Extension()
			file := write(t, f, raw, name)
			if out := qemuImg(t, "compare", "-f", "raw", "-F", driver, raw, file); !strings.Contains(out, "identical") || strings.Contains(out, "Warning") { // of sizes that differ
				t.Errorf("qemu-img compare: %s", out)
			}
			if f != VHD { // qemu-img has no check for fixed VHDs
				if out := qemuImg(t, "check", "-f", driver, file); !strings.Contains(out, "No errors") {
					t.Errorf("qemu-img check: %s", out)
				}
			}
			other := write(t, f, raw, name)
			a, aerr := os.ReadFile(file)
			b, berr := os.ReadFile(other)
			if err := errors.Join(aerr, berr); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Error("two images of one disk differ")
			}
		})
	}
}

func TestVMDKHasTheGivenNameAndContentID(t *testing.T) {
	reftool.Need(t, "qemu-img", "qemu-utils")
	file := write(t, VMDK, disk(t), "node.vmdk")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nCID=0000beef\n", ` SPARSE "node.vmdk"` + "\n"} {
		if !bytes.Contains(data, []byte(want)) {
			t.Errorf("no %q in the VMDK", want)
		}
	}
	if bytes.Contains(data, []byte(".part")) {
		t.Error("the VMDK has the name of the file it was written to")
	}
}

// TestWhatIsBehindTheDescriptorIsCleared: qemu-img writes its random content ID twice, with as few digits as it takes the
// second time, and the end of the longer descriptor stays behind the NUL of a shorter one.
func TestWhatIsBehindTheDescriptorIsCleared(t *testing.T) {
	reftool.Need(t, "qemu-img", "qemu-utils")
	file := write(t, VMDK, disk(t), "node.vmdk")
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := 512 + bytes.IndexByte(want[512:], 0)
	left := bytes.Clone(want)
	left[end+1] = '\n'
	if err := os.WriteFile(file, left, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := settle(file, "node.vmdk", 0xbeef); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was behind the descriptor is still there: %q (%v)", got[end-2:end+4], err)
	}
}

// TestVHDFooterIsThatOfQEMU compares the footer with the one that qemu-img makes for Azure: they differ in time,
// identifier and what follows from them, the checksum.
func TestVHDFooterIsThatOfQEMU(t *testing.T) {
	raw := disk(t)
	theirs := filepath.Join(t.TempDir(), "theirs.vhd")
	qemuImg(t, "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", raw, theirs)
	footer := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != diskSize+FooterSize {
			t.Fatalf("%s has %d bytes, want %d", file, len(data), diskSize+FooterSize)
		}
		f := data[diskSize:]
		sum := ^binary.BigEndian.Uint32(f[vhdChecksum:])
		clear(f[vhdChecksum : vhdChecksum+4])
		var want uint32
		for _, b := range f {
			want += uint32(b)
		}
		if sum != want {
			t.Errorf("%s: checksum is of %#x, want %#x", file, sum, want)
		}
		return f
	}
	ours, reference := footer(write(t, VHD, raw, "node.vhd")), footer(theirs)
	made := vhdEpoch.Add(time.Duration(binary.BigEndian.Uint32(ours[vhdTime:])) * time.Second)
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); !made.Equal(want) {
		t.Errorf("made at %v, want %v", made, want)
	}
	if !bytes.Equal(ours[vhdID:vhdID+3], []byte{1, 2, 3}) {
		t.Errorf("identifier % x, want the one given", ours[vhdID:vhdID+16])
	}
	for _, f := range [][]byte{ours, reference} {
		clear(f[vhdTime : vhdTime+4])
		clear(f[vhdID : vhdID+16])
	}
	if !bytes.Equal(ours, reference) {
		t.Errorf("footer\n% x\nwant\n% x", ours[:96], reference[:96])
	}
}

func TestVHDOfOddSizeIsRefused(t *testing.T) {
	for _, size := range []int64{0, 512, vhdUnit + 512, -vhdUnit} {
		f, err := os.Create(filepath.Join(t.TempDir(), "x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := AppendFooter(f, size, [16]byte{}, time.Now()); err == nil {
			t.Errorf("AppendFooter of %d bytes = nil, want an error", size)
		}
		f.Close()
	}
}

func TestFormatByNameOrExtension(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       Format
		err        string
	}{
		{"", "a.img", Raw, ""},
		{"", "a", Raw, ""},
		{"", "/dev.d/a.bin", Raw, ""},
		{"", "a.qcow2", QCOW2, ""},
		{"", "A.VMDK", VMDK, ""},
		{"", "a.vhd", VHD, ""},
		{"", "a.img.zst", Raw, ""},
		{"qcow2", "a", QCOW2, ""},
		{"qcow2", "a.qcow2", QCOW2, ""},
		{"raw", "a.iso", Raw, ""},
		{"qcow2", "a.img", "", ".qcow2"},
		{"raw", "a.vhd", "", ".img"},
		{"iso", "a.iso", "", "USB stick"},
		{"", "a.iso", "", "USB stick"},
		{"vhdx", "a", "", "vhd"},
		{"qcow", "a", "", "raw, qcow2, vmdk, vhd"},
	} {
		got, err := Choose(c.name, c.file)
		if c.err == "" && (err != nil || got != c.want) {
			t.Errorf("Choose(%q, %q) = %q, %v, want %q", c.name, c.file, got, err, c.want)
		}
		if c.err != "" && (!errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("Choose(%q, %q) = %v, want ErrFormat with %q", c.name, c.file, err, c.err)
		}
	}
}

func TestWithoutQEMUTheErrorNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for f, want := range map[Format]error{Raw: nil, VHD: nil, QCOW2: ErrTool, VMDK: ErrTool} {
		if err := Check(f); !errors.Is(err, want) || (err != nil && !strings.Contains(err.Error(), "qemu-utils")) {
			t.Errorf("Check(%s) = %v, want %v", f, err, want)
		}
	}
}

// TestSettleTakesNoFileForAVMDK: what is not one is left as it is.
func TestSettleTakesNoFileForAVMDK(t *testing.T) {
	header := make([]byte, 3*512)
	copy(header, "KDMV")
	binary.LittleEndian.PutUint64(header[28:], 1)
	binary.LittleEndian.PutUint64(header[36:], 2)
	far := bytes.Clone(header)
	binary.LittleEndian.PutUint64(far[28:], 1<<40)
	for name, data := range map[string][]byte{
		"empty": nil, "text": bytes.Repeat([]byte("x"), 1024), "no descriptor": header, "cut short": header[:1024], "far descriptor": far,
	} {
		file := filepath.Join(t.TempDir(), "x.vmdk")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := settle(file, "a.vmdk", 1); err == nil {
			t.Errorf("%s: settle = nil, want an error", name)
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, data) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
}
