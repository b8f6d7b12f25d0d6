package flash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/config"
)

// bootOf opens the FAT partition of an image for changes.
func bootOf(t *testing.T, raw string) (*Boot, *os.File) {
	t.Helper()
	f, err := os.OpenFile(raw, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b, err := OpenBoot(f, imageSize)
	if err != nil {
		t.Fatal(err)
	}
	return b, f
}

func TestAChangeIsCheckedAsTheNodeWould(t *testing.T) {
	dir := lab(t)
	b, _ := bootOf(t, newImage(t, imageOptions{config: dir}))
	for _, tt := range []struct {
		change Change
		want   string
	}{
		{Change{Set: []string{"hostnme=pi"}}, `keelson.yaml:`},
		{Change{Set: []string{"hostnme=pi"}}, `did you mean "hostname"?`},
		{Change{Hostname: "Not A Name"}, "hostname: found"},
		{Change{Set: []string{"cluster.node-ip=somewhere"}}, "cluster.node-ip"},
		{Change{Unset: []string{"secrets"}}, "secrets"},
		{Change{Set: []string{"hostname"}}, `no "="`},
		{Change{Unset: []string{"nobody"}}, "not in the file"},
		{Change{Secrets: filepath.Join(dir, "server.yaml")}, "secrets.yaml"},
		{Change{File: filepath.Join(dir, "gone.yaml")}, "no such file"},
	} {
		if files, err := b.Apply(tt.change); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Apply(%+v) = %d files, %v, want %q", tt.change, len(files), err, tt.want)
		}
	}
	files, err := b.Apply(Change{Hostname: "pi-7", Set: []string{"clock.servers=[10.0.0.1]"}})
	if err != nil || !strings.Contains(string(files[config.FileName]), "hostname: pi-7\n") {
		t.Fatalf("Apply = %q, %v", files[config.FileName], err)
	}
	if err := WriteFiles(b.Volume, files, noon); err != nil {
		t.Fatal(err)
	}
	if got, err := b.ReadConfig(); err != nil || string(got) != string(files[config.FileName]) {
		t.Errorf("ReadConfig = %q, %v", got, err)
	}
}

func TestAValueNeverAppearsInAnError(t *testing.T) {
	b, _ := bootOf(t, newImage(t, imageOptions{config: lab(t)}))
	for _, set := range []string{"cluster.token={hunter2", "cluster.token.x=hunter2", "secrets.server-token=hunter2"} {
		if _, err := b.Apply(Change{Set: []string{set}}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Apply(%s) = %v, want an error without the value", set, err)
		}
	}
}

func TestAnImageWithoutConfigurationSaysHowToGetOne(t *testing.T) {
	raw := newImage(t, imageOptions{})
	if _, err := openImage(t, raw).NodeFiles(t.Context(), Change{Hostname: "a"}); !errors.Is(err, ErrNoConfig) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("NodeFiles = %v, want ErrNoConfig and --config", err)
	}
	// A whole file is what it needs.
	dir := lab(t)
	b, _ := bootOf(t, raw)
	files, err := b.Apply(Change{File: filepath.Join(dir, "server.yaml"), Hostname: "a"})
	if err != nil || len(files) != 2 || !strings.Contains(string(files[config.FileName]), "hostname: a\n") {
		t.Fatalf("Apply of a file = %d files, %v", len(files), err)
	}
	if err := WriteFiles(b.Volume, files, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadConfig(); err != nil {
		t.Error(err)
	}
}

func TestSecretsOfAnotherNameAreRenamed(t *testing.T) {
	dir := lab(t)
	if err := os.Rename(filepath.Join(dir, "secrets.yaml"), filepath.Join(dir, "other.yaml")); err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(dir, "server.yaml")
	text, err := os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server, []byte(strings.Replace(string(text), "secrets: secrets.yaml", "secrets: other.yaml", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := bootOf(t, newImage(t, imageOptions{}))
	files, err := b.Apply(Change{File: server})
	if err != nil || files[config.SecretsName] == nil || !strings.Contains(string(files[config.FileName]), "secrets: secrets.yaml") {
		t.Errorf("Apply = %d files, %v", len(files), err)
	}
}

// After its first boot a node has its configuration and secrets on the state partition;
// what a cut-short first boot leaves are zeros.
func TestAfterTheFirstBootAFileAloneIsEnough(t *testing.T) {
	dir := lab(t)
	raw := newImage(t, imageOptions{mbr: true, config: dir})
	if err := os.Remove(filepath.Join(dir, "secrets.yaml")); err != nil {
		t.Fatal(err)
	}
	b, f := bootOf(t, raw)
	for _, name := range []string{config.FileName, config.SecretsName} {
		if err := b.WriteFile(name, make([]byte, 500), noon); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.ReadConfig(); !errors.Is(err, ErrNoConfig) {
		t.Errorf("ReadConfig of zeros = %v, want ErrNoConfig", err)
	}
	change := Change{File: filepath.Join(dir, "server.yaml")}
	if _, err := b.Apply(change); err == nil {
		t.Error("Apply without secrets on a disk that no node has started from = nil, want an error")
	}
	if _, err := f.WriteAt([]byte{0x83}, 446+3*16+4); err != nil { // the state partition is formatted
		t.Fatal(err)
	}
	b, err := OpenBoot(f, imageSize)
	if err != nil || !b.Booted {
		t.Fatalf("OpenBoot: booted %v, %v", b != nil && b.Booted, err)
	}
	files, err := b.Apply(change)
	if err != nil || len(files) != 1 {
		t.Errorf("Apply = %d files, %v, want the configuration alone", len(files), err)
	}
	change.Set = []string{"hostnme=a"}
	if _, err := b.Apply(change); err == nil {
		t.Error("Apply of a mistake = nil, want an error")
	}
}

func TestOpenBootRefusesOtherDisks(t *testing.T) {
	if _, err := OpenBoot(newDisk(20*mib), 20*mib); err == nil || !strings.Contains(err.Error(), "no disk of Keelson's") {
		t.Errorf("OpenBoot = %v, want a refusal", err)
	}
}
