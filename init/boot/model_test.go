package boot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBoardModelIsTheDeviceTreesOrNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "model")
	if got := boardModel(file); got != "" {
		t.Errorf("without a device tree: %q, want nothing", got)
	}
	if err := os.WriteFile(file, []byte("Pine64 RockPro64 v2.1\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := boardModel(file), "Pine64 RockPro64 v2.1"; got != want {
		t.Errorf("boardModel = %q, want %q", got, want)
	}
}
