package grub

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/reftool"
)

var testDisk = Disk{Core: 1 << 20, Room: 1 << 20, ESP: 1, BootState: 2, RootA: 3, RootB: 4}

// images is where Debian's package grub-pc-bin has GRUB's images; builds take them from a package that they fetch.
const images = "/usr/lib/grub/i386-pc"

func needImages(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(images + "/boot.img"); err != nil {
		reftool.Missing(t, fmt.Errorf("%w: install the Debian package grub-pc-bin", err))
	}
}

func TestMakeIsReproducibleAndTiesTheImagesToTheirPlaces(t *testing.T) {
	mkimage := reftool.Need(t, "grub-mkimage", "grub-common")
	needImages(t)
	command := func(ctx context.Context, _ string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, mkimage, args...)
	}
	var first Images
	for i := range 2 {
		got, err := Make(t.Context(), command, images, testDisk, time.Unix(1_700_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = got
			continue
		}
		if !bytes.Equal(got.Core, first.Core) || !bytes.Equal(got.Boot, first.Boot) {
			t.Error("the second Make has other bytes")
		}
	}
	le := binary.LittleEndian
	if lba := le.Uint64(first.Boot[0x5c:]); len(first.Boot) != 440 || lba != 2048 {
		t.Errorf("boot code of %d bytes loads sector %d, want 440 and 2048", len(first.Boot), lba)
	}
	if at, n := le.Uint64(first.Core[0x1f4:]), int(le.Uint16(first.Core[0x1fc:])); at != 2049 || (n+1)*512 != len(first.Core) {
		t.Errorf("core image of %d bytes lists sectors %d+%d, want 2049 and the rest", len(first.Core), at, n)
	}
}

func TestMakeSaysWhatGrubMkimageSaid(t *testing.T) {
	command := func(ctx context.Context, _ string, _ ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "sh", "-c", "echo no such module >&2; exit 1")
	}
	_, err := Make(t.Context(), command, t.TempDir(), testDisk, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "no such module") {
		t.Errorf("Make = %v, want what the tool said", err)
	}
}

func TestScriptsAreAcceptedByGrubScriptCheck(t *testing.T) {
	check := reftool.Need(t, "grub-script-check", "grub-common")
	boot, err := script(testDisk)
	if err != nil {
		t.Fatal(err)
	}
	load, err := testImage().script(521)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"boot.cfg": boot, "section": load, "early.cfg": string(earlyCfg)} {
		file := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(check, file).CombinedOutput(); err != nil {
			t.Errorf("%s: grub-script-check: %v\n%s\n%s", name, err, out, text)
		}
	}
}

// TestEveryCommandIsInTheCoreImage: nothing can be loaded later, there is no folder with modules.
func TestEveryCommandIsInTheCoreImage(t *testing.T) {
	needImages(t)
	lines := func(name string) map[string]string {
		text, err := os.ReadFile(filepath.Join(images, name))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			out[strings.TrimPrefix(key, "*")] = strings.TrimSpace(value)
		}
		return out
	}
	needs, commands := lines("moddep.lst"), lines("command.lst")
	there := map[string]bool{}
	var add func(string)
	add = func(module string) {
		if !there[module] {
			there[module] = true
			for _, m := range strings.Fields(needs[module]) {
				add(m)
			}
		}
	}
	for _, m := range modules {
		if _, ok := needs[m]; !ok {
			t.Errorf("GRUB has no module %s", m)
		}
		add(m)
	}
	boot, err := script(testDisk)
	if err != nil {
		t.Fatal(err)
	}
	image := testImage()
	image.Cmdline = "quiet" // whose words are no commands
	load, err := image.script(521)
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, m := range regexp.MustCompile(`(?m)(?:^|; |\bif |\bthen |\bdo )\s*([a-z_]+|\[)(?:[ \n;]|$)`).FindAllStringSubmatch(boot+load+string(earlyCfg), -1) {
		module, ok := commands[m[1]]
		if !ok {
			continue // of the language or of GRUB's kernel
		}
		used++
		if !there[module] {
			t.Errorf("%s is a command of module %s, which is not in the core image", m[1], module)
		}
	}
	if used < 15 {
		t.Errorf("found %d uses of commands, want many more", used)
	}
}

func TestScriptRefusesImpossiblePartitions(t *testing.T) {
	for _, d := range []Disk{{}, {ESP: 1, BootState: 2, RootA: 3}, {ESP: 1, BootState: 2, RootA: 3, RootB: 129}} {
		if _, err := script(d); err == nil {
			t.Errorf("script(%+v) = nil, want an error", d)
		}
	}
}
