package uefi

import "testing"

// The examples of UAPI.10.
func TestVersionsAreOrderedAsTheSpecificationSays(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"11", "11", 0}, {"systemd-123", "systemd-123", 0}, {"bar-123", "foo-123", -1}, {"123a", "123", 1}, {"123.a", "123", 1}, {"123.a", "123.b", -1},
		{"123a", "123.a", 1}, {"11α", "11β", 0}, {"A", "a", -1}, {"", "0", -1}, {"0.", "0", 1}, {"0.0", "0", 1}, {"0", "~", 1}, {"", "~", 1}, {"1_", "1", 0},
		{"_1", "1", 0}, {"1_", "1.2", -1}, {"1_2_3", "1.3.3", 1}, {"1+", "1", 0}, {"+1", "1", 0}, {"1+", "1.2", -1}, {"122.1", "123~rc1-1", -1},
		{"123~rc1-1", "123", -1}, {"123", "123-a", -1}, {"123-a", "123-a.1", -1}, {"123-a.1", "123-1", -1}, {"123-1", "123-1.1", -1}, {"123-1.1", "123^post1", -1},
		{"123^post1", "123.a-1", -1}, {"123.a-1", "123.1-1", -1}, {"123.1-1", "123a-1", -1}, {"123a-1", "124-1", -1}, {"keelson_9_b", "keelson_10_a", -1},
	} {
		if got := compareVersions(c.a, c.b); got != c.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := compareVersions(c.b, c.a); got != -c.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}
