package handmade

import (
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware"
)

// WantFault checks that a report has exactly one fault, with this text in it; none when the text is empty.
func WantFault(t testing.TB, r firmware.Report, text string) {
	t.Helper()
	if text == "" {
		if len(r.Faults) > 0 {
			t.Errorf("faults in a good disk:\n%s", r)
		}
		return
	}
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0], text) {
		t.Errorf("want one fault, with %q in it:\n%s", text, r)
	}
}
