package uboot

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/tests/reftool"
)

func testScript(t *testing.T) []byte {
	t.Helper()
	s, err := Script(&boards.UBoot{Kernel: 0x2000000, Initrd: 0x8000000, FDT: 0x6000000, Scratch: 0x1000000, DeviceTree: "firmware"}, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScriptIsAcceptedByMkimage(t *testing.T) {
	mkimage := reftool.Need(t, "mkimage", "u-boot-tools")
	file := filepath.Join(t.TempDir(), "boot.scr")
	if err := os.WriteFile(file, testScript(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(mkimage, "-l", file).CombinedOutput()
	if err != nil {
		t.Fatalf("mkimage -l: %v\n%s", err, out)
	}
	for _, want := range []string{"Image Name:   Keelson boot script", "AArch64 Linux Script", "Contents:\n   Image 0:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("mkimage -l does not show %q:\n%s", want, out)
		}
	}
	// The same script wrapped by mkimage differs in nothing.
	text := filepath.Join(t.TempDir(), "boot.cmd")
	if err := os.WriteFile(text, testScript(t)[headerSize+8:], 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := file + ".theirs"
	cmd := exec.Command(mkimage, "-A", "arm64", "-O", "linux", "-T", "script", "-C", "none", "-n", "Keelson boot script", "-d", text, theirs)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v\n%s", err, out)
	}
	got, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, testScript(t)) {
		t.Error("mkimage makes other bytes of the same script")
	}
}

func TestScriptHasNoCommentInsideALine(t *testing.T) {
	for i, line := range strings.Split(string(testScript(t)[headerSize+8:]), "\n") {
		if at := strings.IndexByte(line, '#'); at > 0 && strings.TrimSpace(line[:at]) != "" {
			t.Errorf("line %d: %q: U-Boot's shell takes comments at the start of a word only; keep them on their own lines", i+1, line)
		}
	}
}

func TestBlockIsWhatMkenvimageMakes(t *testing.T) {
	mkenvimage := reftool.Need(t, "mkenvimage", "u-boot-tools")
	got, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte("ab_default=a\nab_gen=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(mkenvimage, "-s", "0x1000", "-p", "0x00", "-o", filepath.Join(dir, "out"), filepath.Join(dir, "in"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkenvimage: %v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("Block = % x…, mkenvimage makes % x…", got[:32], want[:32])
	}
}

func TestBlockRefusesWhatItCannotHold(t *testing.T) {
	for _, v := range []Variable{{"", "x"}, {"a=b", "x"}, {"a", "x\x00"}, {"a", strings.Repeat("x", BlockSize-7)}} {
		if _, err := Block(v); err == nil {
			t.Errorf("Block(%.20q) = nil, want an error", v)
		}
	}
	if _, err := Block(Variable{"a", strings.Repeat("x", BlockSize-8)}); err != nil {
		t.Errorf("Block of all it can hold: %v", err)
	}
}

func TestANewDiskHasSlotACommittedTwiceAndNoTrial(t *testing.T) {
	s, err := State()
	if err != nil {
		t.Fatal(err)
	}
	first, trial, second := s[:BlockSize], s[BlockSize:2*BlockSize], s[2*BlockSize:]
	if !bytes.Equal(first, second) || !bytes.Equal(first[4:24], []byte("ab_default=a\x00ab_gen=1")[:20]) {
		t.Errorf("committed blocks: %q, %q", first[:32], second[:32])
	}
	if binary.LittleEndian.Uint32(trial) == crc32.ChecksumIEEE(trial[4:]) {
		t.Error("the trial block of a new disk has a valid checksum")
	}
}

func TestBootEnvRefusesWhatUBootWouldReadOtherwise(t *testing.T) {
	for _, line := range []string{"a\nb", "a\\", "a\x00", "a='b'"} {
		if _, err := BootEnv(line); err == nil {
			t.Errorf("BootEnv(%q) = nil, want an error", line)
		}
	}
	got, err := BootEnv("roothash=1 console=tty0")
	if err != nil || string(got) != "keelson_args=roothash=1 console=tty0\n" {
		t.Errorf("BootEnv = %q, %v", got, err)
	}
}
