package imagebuilder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
)

func TestTraefikIsInEveryImageButThoseThatDisableIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  *config.Config
		want bool
	}{
		{"no configuration", nil, true},
		{"nothing disabled", &config.Config{}, true},
		{"something else disabled", &config.Config{Cluster: config.Cluster{Disable: []string{"servicelb"}}}, true},
		{"disabled", &config.Config{Cluster: config.Cluster{Disable: []string{"servicelb", "traefik"}}}, false},
	} {
		if got := wantsTraefik(tt.cfg); got != tt.want {
			t.Errorf("%s: wantsTraefik = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestSystemWithoutTraefikDoesNotDependOnIt(t *testing.T) {
	board, err := boards.Load("pc")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("node", "node")
	write("traefik", "one")
	key := func(traefik bool) string {
		b := &builder{opts: Options{Board: "pc", Version: "1", Programs: dir}, board: board, traefik: traefik,
			memo: openMemo(filepath.Join(t.TempDir(), "memo")), progress: silent{}}
		k, err := b.systemKey([]byte("lock"))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	with, without := key(true), key(false)
	if with == without {
		t.Error("with and without Traefik have one key")
	}
	write("traefik", "another")
	if key(true) == with {
		t.Error("another Traefik has the key of the first")
	}
	if key(false) != without {
		t.Error("a system without Traefik depends on it")
	}
	if err := os.Remove(filepath.Join(dir, "traefik")); err != nil {
		t.Fatal(err)
	}
	if key(false) != without {
		t.Error("a system without Traefik needs it to be built")
	}
	b := &builder{opts: Options{Programs: dir}, board: board, progress: silent{}}
	var missing *rootfs.ProgramsError
	if _, err := b.makeTraefik(t.TempDir(), nil); !errors.As(err, &missing) {
		t.Errorf("makeTraefik without the program = %v, want a *rootfs.ProgramsError", err)
	}
}
