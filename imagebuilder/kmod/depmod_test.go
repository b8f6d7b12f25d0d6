package kmod_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
)

// TestIndexIsWhatDepmodWrites compares the index of board pc's initramfs, which kmod cuts from the
// whole one, with depmod's own for those modules alone.
func TestIndexIsWhatDepmodWrites(t *testing.T) {
	ctx := context.Background()
	b, err := boards.Load("pc")
	if err != nil {
		t.Fatal(err)
	}
	set, err := pkgs.Open(ctx, pkgs.Options{Spec: rootfs.Packages(b), Lock: b.Lock, AllowMoved: true})
	var tool *pkgs.ToolError
	if (errors.Is(err, pkgs.ErrUnavailable) || errors.As(err, &tool)) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := kmod.Open(ctx, set, t.TempDir()) // runs depmod on the whole tree
	if err != nil {
		t.Fatal(err)
	}
	modules, err := k.Select(b.Modules.Initramfs)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := k.Entries("lib/modules/"+k.Version, modules)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ours := map[string][]byte{}
	for _, e := range entries {
		f := filepath.Join(dir, e.Path)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if e.File == "" {
			ours[filepath.Base(e.Path)] = e.Data
			continue
		}
		data, err := os.ReadFile(e.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := set.Tools().Command(ctx, "depmod", "-b", dir, k.Version).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v: %s", err, out)
	}
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep"} {
		theirs, err := os.ReadFile(filepath.Join(dir, "lib/modules", k.Version, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sorted(ours[name]), sorted(theirs); !slices.Equal(got, want) {
			t.Errorf("%s: %d lines, depmod writes %d", name, len(got), len(want))
			for _, l := range want {
				if !slices.Contains(got, l) {
					t.Logf("missing: %s", l)
				}
			}
			for _, l := range got {
				if !slices.Contains(want, l) {
					t.Logf("too much: %s", l)
				}
			}
		}
	}
}

// sorted returns lines in order, comments left out: depmod's order is that of its hash table and of modules.order.
func sorted(text []byte) []string {
	var out []string
	for l := range bytes.Lines(text) {
		if s := strings.TrimSpace(string(l)); s != "" && !strings.HasPrefix(s, "#") {
			m, deps, ok := strings.Cut(s, ":")
			if ok && strings.HasPrefix(s, "kernel/") {
				f := strings.Fields(deps)
				slices.Sort(f)
				s = m + ": " + strings.Join(f, " ")
			}
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}
