package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlashBuildsOnTheWayOrSaysWhyNot(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	disk := filepath.Join(t.TempDir(), "disk.img")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--board", "pcc", disk}, `unknown board "pcc"`},
		{[]string{"--board", "pc", "--config", "gone.yaml", disk}, `"keelson config new NAME" makes NAME/server.yaml`},
		{[]string{"--board", "pc", "--compress", "zst", disk}, "a disk gets the raw image"},
		{[]string{"--board", "pc", "image.img", disk}, "unexpected argument"},
	} {
		if _, _, err := keelson(t, append([]string{"flash"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("flash %q = %v, want %q", tt.args, err, tt.want)
		}
	}
	if _, err := os.Stat(disk); err == nil {
		t.Error("the disk's file was made")
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "keelson", "flash-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
