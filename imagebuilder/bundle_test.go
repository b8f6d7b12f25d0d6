package imagebuilder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/tests/reftool"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// bundles makes the bundle of the system that is in first's image from both caches, and compares it with the image's slot.
func bundles(t *testing.T, first, second Options) {
	dir := filepath.Dir(first.ConfigPath)
	text, err := os.ReadFile(filepath.Join(dir, config.ReleaseKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := bundle.ParsePrivateKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	created := time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	var made [2]*BundleResult
	for i, o := range []Options{first, second} {
		o.EmbedImages, o.Manifests = nil, nil
		o.Out = filepath.Join(t.TempDir(), "x.keelson")
		if made[i], err = Bundle(context.Background(), BundleOptions{Options: o, Key: key, Created: created}); err != nil {
			t.Fatal(err)
		}
	}
	sameFile(t, made[0].File, made[1].File)
	sameFile(t, made[0].SBOM, made[1].SBOM)
	st, err := os.Stat(made[0].File)
	if err != nil || st.Size() != made[0].Size || st.Mode().Perm()&0o077 == 0 {
		t.Errorf("bundle: %v, %v, want %d bytes for everybody to read", st, err, made[0].Size)
	}

	f, err := os.Open(made[0].File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := bundle.ReadHeader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, config.ReleasePublic))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := bundle.ParsePublicKey(string(public))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify([]bundle.PublicKey{trusted}); err != nil {
		t.Errorf("signature: %v", err)
	}
	if err := bundle.VerifyAll(context.Background(), f, h); err != nil {
		t.Error(err)
	}
	m := h.Manifest
	if m.Board != "pc" || m.Arch != "amd64" || m.Version != "1.2.3" || m.Serial != 7 || m.MinimumSerial != 5 || m.Created != "2026-02-03T03:05:06Z" || m.Kernel == "" {
		t.Errorf("manifest: %+v", m)
	}
	esp, root := imageSlot(t, first.Out, m.RootHash)
	var names []string
	for _, a := range m.Artefacts {
		names = append(names, a.Name)
		got := make([]byte, a.Size)
		if _, err := f.ReadAt(got, a.Offset); err != nil {
			t.Fatal(err)
		}
		if want := map[string][]byte{"root": root, "boot/uki.efi": esp}[a.Name]; !bytes.Equal(got, want) {
			t.Errorf("%s is not what the image has: %d bytes, want %d", a.Name, len(got), len(want))
		}
	}
	if want := []string{"root", "boot/uki.efi"}; !slices.Equal(names, want) {
		t.Errorf("artefacts are %q, want %q", names, want)
	}
}

// imageSlot returns the UKI and the root of slot a of an image, whose root hash must be that one.
func imageSlot(t *testing.T, image, rootHash string) (uki, root []byte) {
	m := readManifest(t, image)
	if m.RootHash != rootHash {
		t.Errorf("root hash of the bundle is %s, that of the image %s", rootHash, m.RootHash)
	}
	read := func(name string, size int64) []byte {
		i := slices.IndexFunc(m.Layout, func(p partition) bool { return p.Name == name })
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.NewSectionReader(f, m.Layout[i].Offset, min(size, m.Layout[i].Size)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	esp := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(esp, read("esp", 1<<40), 0o600); err != nil {
		t.Fatal(err)
	}
	uki, err := exec.Command(reftool.Need(t, "mtype", "mtools"), "-i", esp, "::"+ukiPath).Output()
	if err != nil {
		t.Fatalf("mtype %s: %v", ukiPath, err)
	}
	return uki, read("root-a", m.Root.WithVerity)
}

func TestBundleBringsNothingOfANodesOwn(t *testing.T) {
	for flag, o := range map[string]Options{
		"--embed-image": {EmbedImages: []string{"a.tar"}}, "--manifest": {Manifests: []string{"a.yaml"}}, "--format": {Format: "raw"}, "--compress": {Compress: "zst"},
	} {
		o.Board, o.Version, o.Out = "pc", "1", filepath.Join(t.TempDir(), "x.keelson")
		if _, err := Bundle(context.Background(), BundleOptions{Options: o}); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("Bundle with %s = %v, want a refusal", flag, err)
		}
	}
}

func TestBootFilesAreNamedWithoutTheirSlot(t *testing.T) {
	for path, want := range map[string]string{
		ukiPath: "boot/uki.efi", "slot-a/linux": "boot/linux", "slot-a/dtb/rockchip/rk3328-rock64.dtb": "boot/dtb/rockchip/rk3328-rock64.dtb",
	} {
		if got := artefactName(path); got != want {
			t.Errorf("artefactName(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestReadingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &bounded{ctx, io.NopCloser(strings.NewReader("text"))}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v, want context.Canceled", err)
	}
}
