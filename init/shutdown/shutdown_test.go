package shutdown

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestHasKey(t *testing.T) {
	for _, c := range []struct {
		name, bitmap string
		want         bool
	}{
		{"power button", "10000000000000 0", true}, // bit 116
		{"keyboard with a power key", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", true},
		{"keyboard without one", "3803078f800d001 feefffdfffefffff fffffffffffffffe", false},
		{"full words", "ffffffffffffffff ffffffffffffffff", true},
		{"mouse", "70000 0 0 0 0", false},
		{"empty", "", false},
		{"not hexadecimal", "xyz 0", false},
	} {
		if got := hasKey(c.bitmap, keyPower); got != c.want {
			t.Errorf("%s: hasKey(%q) = %v, want %v", c.name, c.bitmap, got, c.want)
		}
	}
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestPressedIsAPowerKeyGoingDown(t *testing.T) {
	down, up, sync, other := event(evKey, keyPower, 1), event(evKey, keyPower, 0), event(0, 0, 0), event(evKey, 30, 1)
	for _, c := range []struct {
		name string
		in   [][]byte
		want bool
	}{
		{"down", [][]byte{down, sync}, true}, {"second", [][]byte{other, sync, down}, true},
		{"up", [][]byte{up, sync}, false}, {"other", [][]byte{other}, false}, {"cut short", [][]byte{down[:20]}, false}, {"none", nil, false},
	} {
		if got := pressed(slices.Concat(c.in...)); got != c.want {
			t.Errorf("%s: pressed = %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzButton(f *testing.F) {
	f.Add("10000000000000 0", event(evKey, keyPower, 1))
	f.Fuzz(func(t *testing.T, bitmap string, events []byte) {
		hasKey(bitmap, keyPower)
		if pressed(events) && len(events) < eventSize {
			t.Errorf("pressed(%x)", events)
		}
	})
}

// group makes a folder that looks like a cgroup.
func group(t *testing.T, dir, events, procs string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cgroup.events": events, "cgroup.procs": procs} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProcessesOfAllGroupsBelow(t *testing.T) {
	dir := t.TempDir()
	group(t, dir, "populated 1\n", "")
	group(t, filepath.Join(dir, "a"), "populated 1\n", "12\n13\n")
	group(t, filepath.Join(dir, "a", "b"), "populated 1\n", "1\n14\n0\n")
	got := processes(dir)
	slices.Sort(got)
	if want := []int{12, 13, 14}; !slices.Equal(got, want) {
		t.Errorf("processes = %v, want %v: never PID 1 or 0, which is a whole group", got, want)
	}
	if got := processes(filepath.Join(dir, "none")); got != nil {
		t.Errorf("processes of no group = %v", got)
	}
}

func TestAGroupThatStaysIsKilled(t *testing.T) {
	dir := t.TempDir()
	group(t, dir, "populated 1\nfrozen 0\n", "")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := contextWithTimeout(t, 20*time.Second)
		defer cancel()
		if _, killed := stopGroup(ctx, dir); !killed {
			t.Error("killed = false")
		}
	})
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.kill")); err != nil || string(b) != "1" {
		t.Errorf("cgroup.kill = %q, %v, want 1", b, err)
	}
	if _, killed := stopGroup(t.Context(), filepath.Join(dir, "none")); killed {
		t.Error("a group that does not exist was killed")
	}
}
