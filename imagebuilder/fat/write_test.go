package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/reftool"
)

// content returns size pseudo-random bytes that depend on seed.
func content(seed uint64, size int64) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func bytesFile(path string, b []byte) File {
	return File{Path: path, Size: int64(len(b)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

func testVolume(size int64) Volume {
	return Volume{Size: size, Label: "KEELSON", ID: 0x1234abcd, Time: time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC), Hidden: 32768}
}

// writeVolume writes a volume to a new sparse file and returns its path.
func writeVolume(t testing.TB, v Volume, files []File) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esp.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(v.Size); err != nil {
		t.Fatal(err)
	}
	return path, Write(context.Background(), f, v, files)
}

// fsck fails the test unless fsck.vfat finds nothing to say about the volume.
func fsck(t testing.TB, path string) {
	t.Helper()
	out, err := exec.Command(reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", "-v", path).CombinedOutput()
	if err != nil {
		t.Fatalf("fsck.vfat -n: %v\n%s", err, out)
	}
	for _, bad := range []string{"differ", "Dirty", "dirty", "wrong", "Wrong", "bad", "Bad", "Free cluster summary", "Orphan", "orphan"} {
		if strings.Contains(string(out), bad) {
			t.Fatalf("fsck.vfat -n says %q:\n%s", bad, out)
		}
	}
}

func TestWriteIsAcceptedByFsckAndMtools(t *testing.T) {
	mcopy := reftool.Need(t, "mcopy", "mtools")
	files := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":                              content(1, 100_000),
		"EFI/Linux/keelson_1.0.efi":                         content(2, 30_000_000),
		"loader/loader.conf":                                []byte("timeout 0\n"),
		"keelson.yaml":                                      []byte("role: server\n"),
		"images/a name with spaces.tar":                     content(3, 4096),
		"images/ünïcödé-名前.tar":                             content(4, 4097),
		"images/empty":                                      nil,
		"manifests/" + strings.Repeat("long", 60) + ".yaml": content(5, 513),
		"manifests/LONGNA~1.YAM":                            []byte("takes the short name that another would get"),
	}
	for _, size := range []int64{MinSize, 64 << 20, 300 << 20, 1 << 30} {
		t.Run(fmt.Sprint(size>>20, "MiB"), func(t *testing.T) {
			var list []File
			for p, b := range files {
				if size == MinSize && len(b) > 1<<20 {
					b = b[:1<<20]
				}
				list = append(list, bytesFile(p, b))
			}
			list = append(list, File{Path: "empty-directory"})
			path, err := writeVolume(t, testVolume(size), list)
			if err != nil {
				t.Fatal(err)
			}
			fsck(t, path)
			out := t.TempDir()
			cmd := exec.Command(mcopy, "-s", "-n", "-i", path, "::*", out)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=0")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("mcopy: %v\n%s", err, text)
			}
			for _, f := range list {
				if f.Open == nil {
					if st, err := os.Stat(filepath.Join(out, f.Path)); err != nil || !st.IsDir() {
						t.Errorf("%s: not a directory (%v)", f.Path, err)
					}
					continue
				}
				got, err := os.ReadFile(filepath.Join(out, f.Path))
				if err != nil {
					t.Error(err)
					continue
				}
				want := files[f.Path][:f.Size]
				if !bytes.Equal(got, want) {
					t.Errorf("%s: got %d bytes, want %d, or they differ", f.Path, len(got), len(want))
				}
			}
		})
	}
}

func TestWriteGivesSameBytesForAnyFileOrder(t *testing.T) {
	files := []File{bytesFile("b/x", content(1, 5000)), bytesFile("a", content(2, 70)), {Path: "c"}, bytesFile("b/LongFileName.y", nil)}
	first, err := writeVolume(t, testVolume(MinSize), files)
	if err != nil {
		t.Fatal(err)
	}
	second, err := writeVolume(t, testVolume(MinSize), []File{files[3], files[2], files[1], files[0]})
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("volumes differ")
	}
}

func TestWriteFillsVolumeToTheLastCluster(t *testing.T) {
	v := testVolume(MinSize)
	g, err := layout(v.Size)
	if err != nil {
		t.Fatal(err)
	}
	room := (int64(g.clusters) - 1) * g.clusterBytes() // the root directory takes one
	path, err := writeVolume(t, v, []File{bytesFile("FULL", make([]byte, room))})
	if err != nil {
		t.Fatal(err)
	}
	fsck(t, path)
	if _, err := writeVolume(t, v, []File{bytesFile("FULL", make([]byte, room+1))}); !errors.Is(err, ErrFull) {
		t.Errorf("Write of %d bytes = %v, want ErrFull", room+1, err)
	}
}

func TestFitGrowsUntilTheFilesFit(t *testing.T) {
	files := []File{{Path: "big", Size: 1 << 30, Open: func() (io.ReadCloser, error) { return nil, errors.New("not read") }}}
	got, err := Fit(files, 1<<30, 64<<20, 100<<20)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(1<<30 + 128<<20); got != want {
		t.Errorf("Fit = %d, want %d", got, want)
	}
}

func TestWriteRefusesBadInput(t *testing.T) {
	short := File{Path: "short", Size: 10, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("nine byte")), nil }}
	long := File{Path: "long", Size: 8, Open: short.Open}
	for _, tt := range []struct {
		name  string
		files []File
	}{
		{"same name in other case", []File{bytesFile("A/b", nil), bytesFile("a/B", nil)}},
		{"file and directory of one name", []File{bytesFile("a", nil), bytesFile("a/b", nil)}},
		{"colon", []File{bytesFile("a:b", nil)}},
		{"trailing dot", []File{bytesFile("a.", nil)}},
		{"parent", []File{bytesFile("../a", nil)}},
		{"absolute", []File{bytesFile("/a", nil)}},
		{"256 units", []File{bytesFile(strings.Repeat("a", 256), nil)}},
		{"4 GiB", []File{{Path: "a", Size: 4 << 30, Open: short.Open}}},
		{"content too short", []File{short}},
		{"content too long", []File{long}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := writeVolume(t, testVolume(MinSize), tt.files); err == nil {
				t.Error("Write = nil, want an error")
			}
		})
	}
	if _, err := writeVolume(t, Volume{Size: 1 << 20}, nil); err == nil {
		t.Error("Write of 1 MiB volume = nil, want an error")
	}
}

// FuzzWrite gives whatever Write takes to fsck.vfat.
func FuzzWrite(f *testing.F) {
	f.Add("keelson.yaml", "EFI/BOOT/BOOTX64.EFI", "images/ü.tar", uint32(100), uint32(5000), uint8(3))
	f.Add("a b", "A~1", "dir/dir/dir/x.y.z", uint32(0), uint32(1), uint8(200))
	f.Fuzz(func(t *testing.T, p1, p2, p3 string, s1, s2 uint32, many uint8) {
		files := []File{bytesFile(p1, content(1, int64(s1%3_000_000))), bytesFile(p2, content(2, int64(s2%3_000_000))), bytesFile(p3, nil)}
		for i := range many {
			files = append(files, bytesFile(fmt.Sprintf("many/%s-%d", p1, i), nil))
		}
		path, err := writeVolume(t, testVolume(MinSize), files)
		if err != nil {
			return
		}
		fsck(t, path)
	})
}
