// Package reftool finds the reference tools that check our file formats: sgdisk,
// fsck.vfat, veritysetup and others. It is the one place for the rule that a missing tool
// skips a test on a laptop and fails it in CI. It imports the standard library alone, so
// that the tests of every room can use it.
package reftool

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sbin is where Debian keeps tools that an ordinary user's PATH does not reach.
var sbin = []string{"/usr/sbin", "/sbin"}

// ErrMissing means that a reference tool is not installed.
var ErrMissing = errors.New("is not installed")

// Find returns a program's path, or names the Debian package that has it.
func Find(name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range sbin {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s %w: install the Debian package %s", name, ErrMissing, pkg)
}

// Need is Find for a test that cannot run without the program: it is skipped, and in CI
// (the variable CI is not empty) it fails.
func Need(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := Find(name, pkg)
	if err != nil {
		Missing(t, err)
	}
	return path
}

// Missing ends a test for want of something that CI has and a laptop may lack.
func Missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}
