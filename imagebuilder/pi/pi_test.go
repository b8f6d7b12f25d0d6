package pi

import (
	"strings"
	"testing"
)

func TestSlotIsOneSectorOfShortLines(t *testing.T) {
	for _, slot := range []string{"a", "b"} {
		s := string(Slot(slot))
		if len(s) != SlotSize || !strings.HasPrefix(s, "os_prefix=slot-"+slot+"/\n") || !strings.HasSuffix(s, "\n") {
			t.Errorf("Slot(%q) = %d bytes, %.40q", slot, len(s), s)
		}
		for line := range strings.Lines(s) {
			if len(line) > 98 {
				t.Errorf("Slot(%q): line of %d characters", slot, len(line))
			}
		}
	}
}

func TestCmdlineIsOneLine(t *testing.T) {
	if _, err := Cmdline("a\nb"); err == nil {
		t.Error("Cmdline of two lines = nil, want an error")
	}
	if got, err := Cmdline("a b"); string(got) != "a b\n" || err != nil {
		t.Errorf("Cmdline = %q, %v", got, err)
	}
}
