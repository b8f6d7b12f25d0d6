package imagebuilder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

func TestTrustedKeysAreThoseNamedThenThoseBesideTheConfiguration(t *testing.T) {
	configPath := newConfig(t)
	dir := filepath.Dir(configPath)
	key, public, _, err := bundle.GenerateKey("another")
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.pub")
	if err := os.WriteFile(other, public, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := func(o Options) []bundle.PublicKey {
		t.Helper()
		got, err := (&builder{opts: o}).trustedKeys()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	beside := keys(Options{ConfigPath: configPath})
	if len(beside) != 2 || beside[0].String() == beside[1].String() {
		t.Fatalf("beside the configuration: %v, want two keys", beside)
	}
	got := keys(Options{ConfigPath: configPath, TrustKeys: []string{other, filepath.Join(dir, config.NextReleasePublic), other}})
	if len(got) != 3 || got[0].String() != key.String() || got[1].String() != beside[1].String() || got[2].String() != beside[0].String() {
		t.Errorf("keys are %v, want %v, %v, %v", got, key, beside[1], beside[0])
	}
	if got := keys(Options{}); len(got) != 0 {
		t.Errorf("keys of nothing are %v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, config.ReleasePublic), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&builder{opts: Options{ConfigPath: configPath}}).trustedKeys(); err == nil {
		t.Error("a damaged key beside the configuration: want an error")
	}
}
