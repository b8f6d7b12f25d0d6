package kmod

import (
	"errors"
	"strings"
	"testing"
)

func TestFindTakesNamesAndPatterns(t *testing.T) {
	for _, c := range []struct {
		name  string
		wants []string
		want  string
	}{
		{"none", nil, ""},
		{"a name, with what it needs", []string{"b-x"}, "kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
		{"a name with an underscore", []string{"b_x"}, "kernel/lib/b-x.ko.xz kernel/lib/c.ko.xz"},
		{"a path", []string{"lib/c"}, "kernel/lib/c.ko.xz"},
		{"a pattern", []string{"crypto/crc-*"}, "kernel/crypto/crc-fast.ko.xz"},
		{"built in", []string{"in_kernel"}, ""},
		{"twice", []string{"c", "lib/c", "c"}, "kernel/lib/c.ko.xz"},
	} {
		got, err := small(t).Find(c.wants)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: Find(%q) = %q, %v, want %q", c.name, c.wants, got, err, c.want)
		}
	}
}

func TestFindOfUnknownNamesTheNearest(t *testing.T) {
	for _, c := range []struct{ want, hint string }{
		{"crc_genericc", "did you mean crc_generic?"},
		{"crc", "did you mean crc_fast, crc_generic?"},
		{"in_kernell", "did you mean in_kernel?"},
		{"lib", "fs/nls/*"},
		{"fs/dep", "did you mean fs/deep"},
		{"net/none/*", "nothing matches net/none/*"},
	} {
		_, err := small(t).Find([]string{c.want})
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("Find(%s) = %v, want ErrUnknown with %q", c.want, err, c.hint)
		}
	}
	_, err := small(t).Find([]string{"no-such-thing", "c", "nor/this"})
	if err == nil || !strings.Contains(err.Error(), "no-such-thing") || !strings.Contains(err.Error(), "nor/this") {
		t.Errorf("Find of two unknown ones = %v, want both named", err)
	}
}
