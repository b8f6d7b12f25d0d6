package uboot

import (
	"bytes"
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
