package module

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListedReadsConfFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.conf": "# comment\n; comment\n\n  i2c-dev  \nw1_gpio", "a.conf": "first\n", "c.txt": "other\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Listed(dir)
	if want := []string{"first", "i2c-dev", "w1_gpio"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Listed = %q, %v, want %q", got, err, want)
	}
	if got, err := Listed(filepath.Join(dir, "none")); err != nil || len(got) > 0 {
		t.Errorf("Listed without a folder = %q, %v, want nothing", got, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Listed(dir); err == nil || len(got) != 3 {
		t.Errorf("Listed with a file that cannot be read = %q, %v, want the other names and an error", got, err)
	}
}

func TestLoadNamedTellsOfEveryModuleThatIsNotLoaded(t *testing.T) {
	l, loaded := testLoader(t)
	err := l.LoadNamed([]string{"nobody", "b", "broken", "inside", "c debug=2"})
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, unix.ENODEV) {
		t.Errorf("LoadNamed = %v, want both what is not there and what finds no device", err)
	}
	if got, want := loaded(), []string{"c debug=1", "b"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
}
