package module

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// testLoader has the modules
//
//	a → b → c; d with softdeps pre: e, post: f; e softly wants d; f needs d
//	g and h both serve the alias "dev:*"; broken finds no device
func testLoader(t *testing.T) (*Loader, func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep":     "k/a.ko: k/b.ko k/c.ko\nk/b.ko: k/c.ko\nk/c.ko:\nk/d.ko:\nk/e.ko:\nk/f.ko: k/d.ko\nk/g.ko:\nk/h.ko:\nk/broken.ko:\nk/user.ko: k/broken.ko\n",
		"modules.softdep": "softdep d pre: e post: f\nsoftdep e pre: d f\n",
		"modules.alias":   "alias dev:* g\nalias dev:x* h\nalias dev:bad broken\n",
		"modules.builtin": "k/inside.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir, func(m string) string {
		if m == "c" {
			return "debug=1"
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var loaded []string
	l.insert = func(path, options string) error {
		mu.Lock()
		defer mu.Unlock()
		if filepath.Base(path) == "broken.ko" {
			return &os.PathError{Op: "finit_module", Path: path, Err: unix.ENODEV}
		}
		if options != "" {
			options = " " + options
		}
		loaded = append(loaded, nameOf(path)+options)
		return nil
	}
	return l, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(loaded)
	}
}

func TestLoadOrdersAndLoadsOnce(t *testing.T) {
	l, loaded := testLoader(t)
	for _, name := range []string{"a", "a", "b", "inside"} {
		if err := l.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := loaded(), []string{"c debug=1", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
}

func TestLoadLetsBondingMakeNoLinkOfItsOwn(t *testing.T) {
	l, loaded := testLoader(t)
	l.deps["bonding"] = entry{path: "k/bonding.ko"}
	if err := l.LoadWith("bonding", "miimon=100"); err != nil {
		t.Fatal(err)
	}
	if got, want := loaded(), []string{"bonding max_bonds=0 miimon=100"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
}

func TestLoadSurvivesSoftdepsInACircle(t *testing.T) {
	l, loaded := testLoader(t)
	if err := l.Load("d"); err != nil {
		t.Fatal(err)
	}
	got := loaded()
	slices.Sort(got)
	if want := []string{"d", "e", "f"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q in some order", got, want)
	}
}

func TestLoadServesEveryModuleOfAnAlias(t *testing.T) {
	l, loaded := testLoader(t)
	if err := l.Load("dev:xy"); err != nil {
		t.Fatal(err)
	}
	if got, want := loaded(), []string{"g", "h"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want %q", got, want)
	}
}

func TestLoadReports(t *testing.T) {
	l, _ := testLoader(t)
	if err := l.Load("nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Load(nobody) = %v, want ErrNotFound", err)
	}
	for _, name := range []string{"broken", "user", "broken"} { // again: it is tried again
		if err := l.Load(name); !errors.Is(err, unix.ENODEV) {
			t.Errorf("Load(%s) = %v, want ENODEV", name, err)
		}
	}
	if err := l.LoadAll([]string{"dev:bad", "nobody", "a"}); err != nil {
		t.Errorf("LoadAll = %v, want nil: drivers without a device and unknown names are no error", err)
	}
}

func TestLoadFromManyGoroutines(t *testing.T) {
	l, loaded := testLoader(t)
	if err := l.LoadAll([]string{"a", "b", "c", "d", "e", "f", "a", "f", "e", "d"}); err != nil {
		t.Fatal(err)
	}
	got := loaded()
	slices.Sort(got)
	if want := []string{"a", "b", "c debug=1", "d", "e", "f"}; !slices.Equal(got, want) {
		t.Errorf("loaded %q, want each once: %q", got, want)
	}
}

// x wants y after itself, y needs z, z needs x. One goroutine loads x while another has
// begun with z: neither may wait for the other for ever.
func TestAPostSoftdepDoesNotWaitForWhoWaitsForUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loaded []string
		inX, zWaits := make(chan struct{}), make(chan struct{})
		l := &Loader{
			deps: map[string]entry{
				"x": {path: "k/x.ko"},
				"y": {path: "k/y.ko", deps: []string{"x", "z"}},
				"z": {path: "k/z.ko", deps: []string{"x"}},
			},
			soft:    map[string]soft{"x": {post: []string{"y"}}},
			started: map[string]*load{},
		}
		l.insert = func(path, _ string) error {
			if nameOf(path) == "x" {
				close(inX)
				<-zWaits
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			loaded = append(loaded, nameOf(path))
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { l.Load("x") })
		<-inX
		wg.Go(func() { l.Load("z") })
		synctest.Wait()
		close(zWaits)
		wg.Wait() // a deadlock ends the test
		if want := []string{"x", "z", "y"}; !slices.Equal(loaded, want) {
			t.Errorf("loaded %q, want %q", loaded, want)
		}
	})
}

func TestModprobe(t *testing.T) {
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		loaded         []string
		stdout, stderr string
	}{
		{"as the kernel calls it", []string{"-q", "--", "dev:q"}, 0, []string{"g"}, "", ""},
		{"quiet about unknown names", []string{"-q", "--", "net-pf-99"}, 1, nil, "", ""},
		{"several", []string{"-va", "g", "h"}, 0, []string{"g", "h"}, "insmod g\ninsmod h\n", ""},
		{"options", []string{"g", "a=1", "b"}, 0, []string{"g a=1 b"}, "", ""},
		{"dry run", []string{"-nv", "g"}, 0, nil, "insmod g\n", ""},
		{"unknown name", []string{"-a", "nobody", "g"}, 1, []string{"g"}, "", "modprobe: module nobody: no such module\n"},
		{"unknown flag", []string{"-r", "g"}, 1, nil, "", "modprobe: flag -r is not known; known: -a -n -q -v\n"},
		{"nothing", nil, 1, nil, "", "modprobe: no module given\n"},
	} {
		l, loaded := testLoader(t)
		var stdout, stderr bytes.Buffer
		code := Modprobe(c.args, l, &stdout, &stderr)
		if code != c.code || !slices.Equal(loaded(), c.loaded) || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("%s: Modprobe(%q) = %d, loaded %q, stdout %q, stderr %q; want %d, %q, %q, %q",
				c.name, c.args, code, loaded(), stdout.String(), stderr.String(), c.code, c.loaded, c.stdout, c.stderr)
		}
	}
}
