package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/config"
)

// places returns folders in a temporary one, with a new cluster's configuration in From.
func places(t *testing.T) Places {
	t.Helper()
	dir := t.TempDir()
	p := Places{From: filepath.Join(dir, "fat"), Config: filepath.Join(dir, "state", "config"),
		Images: filepath.Join(dir, "state", "images"), Manifests: filepath.Join(dir, "state", "manifests")}
	if err := os.MkdirAll(filepath.Dir(p.Config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.From, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := generate.New(filepath.Join(dir, "lab"), generate.Options{Name: "lab", Endpoints: []string{"10.0.0.1"},
		Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(p.From, config.FileName), get(t, filepath.Join(dir, "lab", "server.yaml")))
	put(t, filepath.Join(p.From, config.SecretsName), get(t, filepath.Join(dir, "lab", "secrets.yaml")))
	return p
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// inForce is the host name of the configuration in force.
func inForce(t *testing.T, p Places) string {
	t.Helper()
	cfg, err := config.Load(filepath.Join(p.Config, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Hostname
}

func TestFirstBootMovesEverything(t *testing.T) {
	p := places(t)
	put(t, filepath.Join(p.From, "images", "app.tar"), "image")
	put(t, filepath.Join(p.From, "images", "._app.tar"), "not a seed")
	put(t, filepath.Join(p.From, "manifests", "app.yaml"), "manifest")
	m, err := p.Copy()
	if err != nil || m.Refused != nil {
		t.Fatalf("Copy = %+v, %v", m, err)
	}
	want := []string{"keelson.yaml", "secrets.yaml", "images/app.tar", "manifests/app.yaml"}
	if !slices.Equal(m.Files, want) || !m.Config {
		t.Errorf("moved %q, want %q", m.Files, want)
	}
	if got := inForce(t, p); got != "lab" {
		t.Errorf("host name %q, want lab", got)
	}
	if got := get(t, filepath.Join(p.Images, "app.tar")); got != "image" {
		t.Errorf("image is %q", got)
	}
	for _, name := range []string{config.FileName, config.SecretsName} {
		info, err := os.Stat(filepath.Join(p.Config, name))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	if err := p.Remove(m); err != nil {
		t.Fatal(err)
	}
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(p.From, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still on the FAT partition: %v", name, err)
		}
	}
	if m, err := p.Copy(); len(m.Files) != 0 || err != nil {
		t.Errorf("second Copy = %+v, %v, want nothing", m, err)
	}
}

func TestANewConfigurationKeepsTheOldSecrets(t *testing.T) {
	p := places(t)
	m, err := p.Copy()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(m); err != nil {
		t.Fatal(err)
	}
	secrets := get(t, filepath.Join(p.Config, config.SecretsName))
	put(t, filepath.Join(p.From, config.FileName), "hostname: other\nsecrets: secrets.yaml\n")
	m, err = p.Copy()
	if err != nil || m.Refused != nil || !slices.Equal(m.Files, []string{config.FileName}) {
		t.Fatalf("Copy = %+v, %v", m, err)
	}
	if got := inForce(t, p); got != "other" {
		t.Errorf("host name %q, want other", got)
	}
	if got := get(t, filepath.Join(p.Config, config.SecretsName)); got != secrets {
		t.Error("the secrets changed")
	}
	if _, err := os.Stat(p.Config + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the staging folder is still there: %v", err)
	}
}

func TestABadConfigurationLeavesTheOldOne(t *testing.T) {
	p := places(t)
	if _, err := p.Copy(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(p.From, config.FileName), "hostnam: other\nsecrets: secrets.yaml\n")
	m, err := p.Copy()
	if err != nil || m.Config || len(m.Files) != 0 {
		t.Fatalf("Copy = %+v, %v", m, err)
	}
	// The laptop's text.
	_, want := config.Validate(filepath.Join(p.From, config.FileName))
	if m.Refused == nil || m.Refused.Error() != want.Error() {
		t.Errorf("Refused = %v, want %v", m.Refused, want)
	}
	if got := inForce(t, p); got != "lab" {
		t.Errorf("host name %q, want lab", got)
	}
}

func TestACopyCutShortIsDoneAgain(t *testing.T) {
	p := places(t)
	put(t, filepath.Join(p.Config+".new", "junk"), "of an earlier boot")
	put(t, filepath.Join(p.Images, ".app.tar.new"), "half")
	put(t, filepath.Join(p.From, "images", "app.tar"), "whole")
	for range 2 { // the second time as after a power cut before Remove
		m, err := p.Copy()
		if err != nil || len(m.Files) != 3 {
			t.Fatalf("Copy = %+v, %v", m, err)
		}
	}
	entries, err := os.ReadDir(p.Config)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v in the configuration's folder, %v; want two files", entries, err)
	}
	if got := get(t, filepath.Join(p.Images, "app.tar")); got != "whole" {
		t.Errorf("image is %q, want whole", got)
	}
	if _, err := os.Stat(filepath.Join(p.Images, ".app.tar.new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half image is still there: %v", err)
	}
}

// A power cut during Remove: each file of the FAT partition is as before, overwritten or
// gone, in the order that Remove takes.
func TestARemovalCutShortIsFinishedAtTheNextBoot(t *testing.T) {
	type cut struct {
		name string
		do   func(t *testing.T, p Places, files []string)
	}
	zero := func(t *testing.T, path string) {
		put(t, path, string(make([]byte, len(get(t, path)))))
	}
	var cuts []cut
	for n := range 3 {
		cuts = append(cuts,
			cut{fmt.Sprintf("%d removed", n), func(t *testing.T, p Places, files []string) {
				for _, f := range files[len(files)-n:] {
					os.Remove(filepath.Join(p.From, f))
				}
			}},
			cut{fmt.Sprintf("%d removed, one overwritten", n), func(t *testing.T, p Places, files []string) {
				for _, f := range files[len(files)-n:] {
					os.Remove(filepath.Join(p.From, f))
				}
				zero(t, filepath.Join(p.From, files[len(files)-n-1]))
			}})
	}
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			p := places(t)
			put(t, filepath.Join(p.From, "manifests", "app.yaml"), "manifest")
			m, err := p.Copy()
			if err != nil || len(m.Files) != 3 {
				t.Fatalf("Copy = %+v, %v", m, err)
			}
			c.do(t, p, m.Files)
			m, err = p.Copy()
			if err != nil || m.Refused != nil {
				t.Fatalf("Copy of the next boot = %+v, %v", m, err)
			}
			if err := p.Remove(m); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{config.FileName, config.SecretsName, "manifests/app.yaml"} {
				if _, err := os.Stat(filepath.Join(p.From, name)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still on the FAT partition: %v", name, err)
				}
			}
			if got := inForce(t, p); got != "lab" {
				t.Errorf("host name %q, want lab", got)
			}
			if got := get(t, filepath.Join(p.Manifests, "app.yaml")); got != "manifest" {
				t.Errorf("manifest is %q", got)
			}
		})
	}
}

func TestTheConfigurationStaysUntilItsSecretsAreGone(t *testing.T) {
	p := places(t)
	m, err := p.Copy()
	if err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(p.From, config.SecretsName)
	if err := os.Remove(secrets); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(secrets, "busy"), "") // a folder with a file cannot be removed
	if err := p.Remove(m); err == nil {
		t.Fatal("Remove = nil")
	}
	if _, err := os.Stat(filepath.Join(p.From, config.FileName)); err != nil {
		t.Errorf("keelson.yaml went before the secrets: %v", err)
	}
}

func TestSecretsOutsideTheFATPartitionAreRefused(t *testing.T) {
	p := places(t)
	put(t, filepath.Join(filepath.Dir(p.From), "outside.yaml"), get(t, filepath.Join(p.From, config.SecretsName)))
	for _, ref := range []string{"../outside.yaml", filepath.Join(filepath.Dir(p.From), "outside.yaml")} {
		put(t, filepath.Join(p.From, config.FileName), "secrets: "+ref+"\n")
		if m, err := p.Copy(); err != nil || m.Refused == nil {
			t.Errorf("%s: Copy = %+v, %v, want it refused", ref, m, err)
		}
	}
}
