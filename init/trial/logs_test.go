package trial

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTailIsThatOfTheFailedBootAlone(t *testing.T) {
	dir := t.TempDir()
	l := Logs{Init: filepath.Join(dir, "init.log"), Node: filepath.Join(dir, "node.log")}
	const at = "2026-11-25T20:00:00.000Z "
	text := at + "Keelson 1, slot a\n" + at + "old\n" + at + "Keelson 2, slot b\n" + at + "step clock: bad\n" + at + "last words\n"
	if err := errors.Join(os.WriteFile(l.Init, []byte(text), 0o600), os.WriteFile(l.Node, []byte("E1125 x\npanic: no\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	want := []string{"node: E1125 x", "node: panic: no", "init: " + at + "Keelson 2, slot b", "init: " + at + "step clock: bad", "init: " + at + "last words"}
	if got := l.Tail("b"); !slices.Equal(got, want) {
		t.Errorf("Tail(b) = %q, want %q", got, want)
	}
	if got := l.Tail(""); !slices.Equal(got, want) {
		t.Errorf("Tail of any slot = %q, want %q", got, want)
	}
	// The last boot was one of b: a boot of slot a left nothing.
	if got := l.Tail("a"); got != nil {
		t.Errorf("Tail(a) = %q, want none", got)
	}
	if got := (Logs{Init: l.Init + "x", Node: l.Node + "x"}).Tail("b"); got != nil {
		t.Errorf("Tail without logs = %q", got)
	}
}

func TestLastLinesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	b.WriteString("no end")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := lastLines(path, 3), []string{"line 9998", "line 9999", "no end"}; !slices.Equal(got, want) {
		t.Errorf("lastLines = %q, want %q", got, want)
	}
	if got := lastLines(path, 1<<20); len(got) > tailSize/6 || !strings.HasPrefix(got[0], "line ") {
		t.Errorf("lastLines read %d lines, the first %q", len(got), got[0])
	}
}

func TestTheConsolesRingCountsAfterAPanic(t *testing.T) {
	for text, want := range map[string]string{
		"reboot: Restarting system\n":                   "",
		"before\n[9.1] Kernel panic - not syncing: x\n": "before\n[9.1] Kernel panic - not syncing: x",
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "console-ramoops-0")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := TakePstore(dir, nil); got != want || err != nil {
			t.Errorf("TakePstore of a console with %q = %q, %v, want %q", text, got, err, want)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the ring is still there: %v", err)
		}
	}
}

func TestTakePstoreOrdersThePartsAndRemovesThem(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dmesg-efi_pstore-176410000001001": "Panic#2 Part1\n<0>[2.0] Kernel panic - not syncing: x\n",
		"dmesg-efi_pstore-176410000002001": "Panic#2 Part2\n<6>[1.0] before\n",
		"dmesg-efi_pstore-176410000001000": "Oops#1 Part1\n<1>[0.5] BUG: first\n",
		"dmesg-efi_pstore-9.enc.z":         "\x00\x01",
		"console-ramoops-0":                "other",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := errors.New("no room")
	if _, err := TakePstore(dir, func(string) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("TakePstore with a save that fails = %v", err)
	}
	saved := ""
	text, err := TakePstore(dir, func(s string) error { saved = s; return nil })
	want := "<1>[0.5] BUG: first\n<6>[1.0] before\n<0>[2.0] Kernel panic - not syncing: x"
	if err != nil || text != want || saved != want {
		t.Errorf("TakePstore = %q, %v, saved %q, want %q", text, err, saved, want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v, want nothing", left, err)
	}
	if line := PanicLine(text); line != "x" {
		t.Errorf("PanicLine = %q", line)
	}
	if text, err := TakePstore(dir+"x", nil); text != "" || err != nil {
		t.Errorf("TakePstore without pstore = %q, %v", text, err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add("Panic#1 Part2")
	f.Add("Oops#-1 Part")
	f.Fuzz(func(t *testing.T, s string) {
		if crash, part, ok := parseHead(s); ok && (crash < 0 || part < 0) || !ok && (crash != 0 || part != 0) {
			t.Errorf("parseHead(%q) = %d, %d, %v", s, crash, part, ok)
		}
	})
}
