//go:build unix

package flash

import (
	"syscall"
	"testing"
)

// storedBytes returns how much of a file is stored.
func storedBytes(t *testing.T, path string) (int64, bool) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512, true
}
