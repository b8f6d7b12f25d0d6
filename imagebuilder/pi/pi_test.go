package pi

import "testing"

func TestCmdlineIsOneLine(t *testing.T) {
	if _, err := Cmdline("a\nb"); err == nil {
		t.Error("Cmdline of two lines = nil, want an error")
	}
	if got, err := Cmdline("a b"); string(got) != "a b\n" || err != nil {
		t.Errorf("Cmdline = %q, %v", got, err)
	}
}
