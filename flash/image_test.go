package flash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/tests/smallimage"
)

// quiet is progress that nobody looks at.
type quiet struct{}

func (quiet) Step(string, int64) {}
func (quiet) Done(int64)         {}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

const mib = 1 << 20

// lab makes a new cluster's folder.
func lab(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	if _, err := generate.New(dir, generate.Options{Name: "lab", Endpoints: []string{"10.0.0.1"}, Now: noon}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// imageOptions say how a test's image differs.
type imageOptions struct {
	mbr    bool
	config string // folder whose server.yaml and secrets.yaml are in the image
}

const imageSize = smallimage.Size

// newImage makes an image like those of the builder, but small, and returns its path.
func newImage(t testing.TB, o imageOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.img")
	small := smallimage.Options{MBR: o.mbr}
	if o.config != "" {
		small.Files = smallimage.Cluster(t, o.config)
	}
	smallimage.Make(t, path, small)
	return path
}

func openImage(t testing.TB, path string) *Image {
	t.Helper()
	i, err := OpenImage(t.Context(), path, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestImagesAreKnown(t *testing.T) {
	for _, mbr := range []bool{false, true} {
		raw := newImage(t, imageOptions{mbr: mbr, config: lab(t)})
		for _, path := range []string{raw, smallimage.Compress(t, raw)} {
			i := openImage(t, path)
			if i.Size != imageSize || i.gpt == mbr {
				t.Errorf("%s: %d bytes, GPT %v; want %d, %v", path, i.Size, i.gpt, imageSize, !mbr)
			}
			v, c, err := i.Boot()
			if err != nil {
				t.Fatal(err)
			}
			b := &Boot{Volume: v}
			if data, err := b.ReadConfig(); err != nil || !strings.Contains(string(data), "hostname: lab") {
				t.Errorf("%s: ReadConfig = %q, %v", path, data, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	raw := newImage(t, imageOptions{})
	whole, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(smallimage.Compress(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	change := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	iso := make([]byte, 64<<10)
	copy(iso[0x8001:], "CD001")
	foreignDisk := bytes.Clone(whole)
	copy(foreignDisk, make([]byte, 2*mib))
	for i, p := range []byte{0x0c, 0x83} { // a disk with two partitions
		foreignDisk[446+16*i+4] = p
		binary.LittleEndian.PutUint32(foreignDisk[446+16*i+8:], uint32(2048*(i+1)))
		binary.LittleEndian.PutUint32(foreignDisk[446+16*i+12:], 2048)
	}
	foreignDisk[510], foreignDisk[511] = 0x55, 0xaa
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":                   {nil, "it is empty"},
		"text":                    {[]byte("hello"), "only 5 bytes"},
		"zeros":                   {make([]byte, 4*mib), "no partition table"},
		"short":                   {whole[:mib/2], "only 524288 bytes"},
		"truncated raw":           {whole[:60*mib], "cut short"},
		"truncated in a sector":   {whole[:60*mib+7], "whole sectors"},
		"damaged partition table": {change(whole, 512+20), "damaged"},
		"another disk":            {foreignDisk, `no partition "esp"`},
		"truncated zst":           {packed[:len(packed)/2], "cut short"},
		"corrupt zst":             {change(packed, len(packed)/2), "corrupt"},
		"corrupt zst checksum":    {change(packed, len(packed)-1), "corrupt"},
		"zst of something else":   {compressed(t, []byte("hello")), "only 5 bytes"},
		"xz":                      {[]byte("\xfd7zXZ\x00 and so on"), "xz -d"},
		"gzip":                    {[]byte("\x1f\x8b and so on"), "gzip -d"},
		"qcow2":                   {[]byte("QFI\xfb and so on"), "qemu-img convert"},
		"fixed VHD":               {append(bytes.Clone(whole), append([]byte("conectix"), make([]byte, 504)...)...), "VHD"},
		"iso":                     {iso, "ISO image"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.img")
			if err := os.WriteFile(path, c.b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenImage(t.Context(), path, quiet{})
			if !errors.Is(err, ErrNotImage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("OpenImage = %v, want ErrNotImage with %q", err, c.want)
			}
		})
	}
	if _, err := OpenImage(t.Context(), t.TempDir(), quiet{}); !errors.Is(err, ErrNotImage) {
		t.Errorf("OpenImage of a folder = %v, want ErrNotImage", err)
	}
	if _, err := OpenImage(t.Context(), raw+".gone", quiet{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenImage of nothing = %v, want os.ErrNotExist", err)
	}
}

func compressed(t testing.TB, b []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(b, nil)
}

func TestCompressedImagesAreReadAtAnyPlace(t *testing.T) {
	raw := newImage(t, imageOptions{})
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openImage(t, smallimage.Compress(t, raw)).Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, at := range []int64{0, 40_000, 52 * mib, 17 * mib, imageSize - 100} {
		b := make([]byte, 100)
		if n, err := r.ReadAt(b, at); n != 100 || err != nil || !bytes.Equal(b, want[at:][:100]) {
			t.Errorf("ReadAt(%d) = %d, %v, or other bytes", at, n, err)
		}
	}
	b := make([]byte, 100)
	if n, err := r.ReadAt(b, imageSize-50); n != 50 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt over the end = %d, %v, want 50, EOF", n, err)
	}
	if n, err := r.ReadAt(b, imageSize+50); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt behind the end = %d, %v, want 0, EOF", n, err)
	}
}
