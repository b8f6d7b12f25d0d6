package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBundleBuildSaysWhatIsMissing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	out := filepath.Join(dir, "x.keelson")
	key := newKey(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--out", out}, "which board?"},
		{[]string{"--board", "pcc", "--out", out}, `unknown board "pcc"`},
		{[]string{"--board", "pc", "--out", out}, "which key signs"},
		{[]string{"--board", "pc", "--out", out, "--key", filepath.Join(dir, "gone.key")}, `"keelson bundle key new"`},
		{[]string{"--board", "pc", "--out", out, "--config", filepath.Join(dir, "server.yaml")}, "release.key"},
		{[]string{"--board", "pc", "--out", out, "--key", key + ".pub"}, key + ".pub"},
		{[]string{"--board", "pc", "--out", out, "--key", key + ".key", "--trust", "gone.pub"}, "--trust"},
		{[]string{"--board", "pc", "--out", out, "--key", key + ".key", "--version", "a b"}, "--version"},
		{[]string{"--board", "pc", "--out", out, "--key", key + ".key", "--serial", "1", "--minimum-serial", "2"}, "--minimum-serial 2"},
		{[]string{"--board", "pc", "--out", dir, "--key", key + ".key"}, "is a directory"},
		{[]string{"--board", "pc", "--out", out, "--key", key + ".key", "--programs", filepath.Join(dir, "no")}, "make build"},
		{[]string{"--board", "pc", "--out", out, "--format", "raw"}, "unknown flag: --format"},
	} {
		if _, _, err := keelson(t, append([]string{"bundle", "build"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("bundle build %q = %v, want %q", tt.args, err, tt.want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a bundle was made")
	}
}
