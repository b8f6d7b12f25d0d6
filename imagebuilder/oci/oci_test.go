package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
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

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/zstd"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testArchive(t testing.TB, img Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteArchive(&b, img, epoch); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inspect(b []byte, arch string) ([]Found, error) {
	return Inspect(bytes.NewReader(b), int64(len(b)), arch)
}

// retar rewrites an archive; change returns what becomes of a member, nil to drop it.
func retar(t testing.TB, b []byte, change func(name string, data []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if data = change(h.Name, data); data == nil {
				continue
			}
			h.Size = int64(len(data))
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArchiveIsAcceptedAsLayoutAndAsDockerArchive(t *testing.T) {
	b := testArchive(t, Busybox([]byte("not really busybox"), "amd64"))
	if !bytes.Equal(b, testArchive(t, Busybox([]byte("not really busybox"), "amd64"))) {
		t.Error("second archive differs")
	}
	found, err := inspect(b, "amd64")
	if err != nil || len(found) != 1 || found[0].Ref != BusyboxRef {
		t.Errorf("Inspect = %v, %v", found, err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "busybox.tar")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(BusyboxRef)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, &ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("as docker archive: %v", err)
	}

	if out, err := exec.Command("tar", "-C", dir, "-xf", file).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Fast: the full check wants every layer of a layout to be gzip. Inspect has compared
	// the digests, and the docker archive above has the same blobs.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("as OCI layout: %v", err)
	}
}

func TestDecompressTakesTarGzipAndZstd(t *testing.T) {
	plain := testArchive(t, Pause([]byte("pause"), "arm64"))
	var gz, zst bytes.Buffer
	gw := gzip.NewWriter(&gz)
	if _, err := gw.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := gw.Close(); err != nil {
		t.Fatal(err)
	}
	zw, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	for _, in := range [][]byte{plain, gz.Bytes(), zst.Bytes()} {
		var out bytes.Buffer
		if _, err := Decompress(context.Background(), &out, bytes.NewReader(in)); err != nil || !bytes.Equal(out.Bytes(), plain) {
			t.Errorf("Decompress of %x…: %d bytes, %v; want the plain tar", in[:4], out.Len(), err)
		}
	}
	for _, cut := range [][]byte{gz.Bytes()[:gz.Len()-20], zst.Bytes()[:zst.Len()-20], []byte("\xfd7zXZ\x00abc")} {
		if _, err := Decompress(context.Background(), io.Discard, bytes.NewReader(cut)); !errors.Is(err, ErrNotArchive) {
			t.Errorf("Decompress of a broken file = %v, want ErrNotArchive", err)
		}
	}
}

func TestInspectRefusesWhatANodeCannotUse(t *testing.T) {
	good := testArchive(t, Pause([]byte("pause program"), "amd64"))
	noLayout := func(name string, data []byte) []byte {
		if name == "oci-layout" {
			return nil
		}
		return data
	}
	for _, tt := range []struct {
		name string
		data []byte
		arch string
		want error
	}{
		{"other architecture", good, "arm64", ErrPlatform},
		{"other architecture, docker", retar(t, good, noLayout), "arm64", ErrPlatform},
		{"cut short", good[:len(good)-4096], "amd64", ErrNotArchive},
		{"empty", nil, "amd64", ErrNotArchive},
		{"no tar", bytes.Repeat([]byte("hello "), 1000), "amd64", ErrNotArchive},
		{"some other tar", retar(t, good, func(name string, data []byte) []byte {
			if strings.HasPrefix(name, "blobs/") {
				return data
			}
			return nil
		}), "amd64", ErrNotArchive},
		{"changed layer", retar(t, good, func(name string, data []byte) []byte {
			return bytes.ReplaceAll(data, []byte("pause program"), []byte("other program"))
		}), "amd64", ErrNotArchive},
		{"no name", retar(t, good, func(name string, data []byte) []byte {
			if name == "index.json" {
				return bytes.ReplaceAll(data, []byte(nameAnnotation), []byte("something.else"))
			}
			return data
		}), "amd64", ErrNoName},
		{"no name, docker", retar(t, good, func(name string, data []byte) []byte {
			if name == "manifest.json" {
				data = bytes.ReplaceAll(data, []byte(`["`+PauseRef+`"]`), []byte("null"))
			}
			return noLayout(name, data)
		}), "amd64", ErrNoName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if found, err := inspect(tt.data, tt.arch); !errors.Is(err, tt.want) {
				t.Errorf("Inspect = %v, %v; want %v", found, err, tt.want)
			}
		})
	}
	found, err := inspect(retar(t, good, noLayout), "amd64")
	if err != nil || len(found) != 1 || found[0].Ref != PauseRef {
		t.Errorf("Inspect of a docker archive = %v, %v", found, err)
	}
}

// TestTraefikImageHasACompressedLayer unpacks the layer as a container runtime does: by the
// manifest's media type, and by the digest of the tar in the configuration.
func TestTraefikImageHasACompressedLayer(t *testing.T) {
	program := bytes.Repeat([]byte("a program that compresses well. "), 1<<15)
	b := testArchive(t, Traefik(program, []byte("authorities"), "arm64"))
	if !bytes.Equal(b, testArchive(t, Traefik(program, []byte("authorities"), "arm64"))) {
		t.Error("second archive differs")
	}
	if len(b) > len(program)/10 {
		t.Errorf("the archive has %d bytes for a program of %d that compresses well", len(b), len(program))
	}
	if found, err := inspect(b, "arm64"); err != nil || len(found) != 1 || found[0].Ref != TraefikRef {
		t.Errorf("Inspect = %v, %v", found, err)
	}
	dir := t.TempDir()
	cmd := exec.Command("tar", "-C", dir, "-xf", "-")
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/traefik"}) || config.Architecture != "arm64" {
		t.Errorf("configuration = %+v, want user 65532 and /traefik", c)
	}
	layers, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := layers.Layers[0].MediaType; got != types.OCILayerZStd {
		t.Errorf("media type of the layer = %s, want %s", got, types.OCILayerZStd)
	}
	packed, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", layers.Layers[0].Digest.Hex))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	plain, err := io.ReadAll(dec)
	if err != nil {
		t.Fatal(err)
	}
	if sum, _, err := v1.SHA256(bytes.NewReader(plain)); err != nil || sum != config.RootFS.DiffIDs[0] {
		t.Errorf("digest of the unpacked layer = %v, %v; the configuration has %v", sum, err, config.RootFS.DiffIDs[0])
	}
	var names []string
	for tr := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if want := []string{"data/", "etc/", "etc/group", "etc/passwd", "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt", "tmp/", "traefik"}; !slices.Equal(names, want) {
		t.Errorf("files = %v, want %v", names, want)
	}
}

func TestAppletsAreSortedAndUnique(t *testing.T) {
	if !slices.IsSorted(Applets) || len(slices.Compact(slices.Clone(Applets))) != len(Applets) {
		t.Error("Applets must be sorted and without repetition")
	}
}

func FuzzInspect(f *testing.F) {
	good := testArchive(f, Pause([]byte("x"), "amd64"))
	f.Add(good)
	f.Add(good[:2048])
	f.Fuzz(func(t *testing.T, b []byte) {
		if found, err := inspect(b, "amd64"); err == nil && len(found) == 0 {
			t.Error("neither image nor error")
		}
	})
}
