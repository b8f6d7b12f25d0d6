// Package smallimage makes disk images in the layout of the builder's, but of 85 MiB and
// in a moment, for tests of what reads and writes images. Nothing boots from them.
package smallimage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/klauspost/compress/zstd"

	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

const mib = 1 << 20

// Size is the length of an image, in bytes; of its content 12 MiB are not zero.
const Size = 85 * mib

// Where an image's partitions are, in bytes.
const (
	ESP      = 16 * mib
	ESPSize  = 34 * mib // the smallest FAT32
	RootA    = 51 * mib
	State    = 68 * mib
	StateLen = 16 * mib
)

// Options say how an image differs from a plain one with a GUID partition table.
type Options struct {
	MBR bool
	// Files are in the root of the FAT partition.
	Files map[string][]byte
}

// Time is that of all files.
var Time = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// Make writes an image to path.
func Make(t testing.TB, path string, o Options) {
	t.Helper()
	if err := write(path, o); err != nil {
		t.Fatal(err)
	}
}

// Cluster returns the files that an image for a cluster made by "keelson config new" in dir has.
func Cluster(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for to, from := range map[string]string{"keelson.yaml": "server.yaml", "secrets.yaml": "secrets.yaml"} {
		b, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		files[to] = b
	}
	return files
}

// Compress writes NAME.zst beside an image and returns its path.
func Compress(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".zst", e.EncodeAll(b, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path + ".zst"
}

// Noise returns n bytes that look random and are always the same.
func Noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func write(path string, o Options) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if err := f.Truncate(Size); err != nil {
		return err
	}
	files := []fat.File{}
	add := func(name string, b []byte) {
		files = append(files, fat.File{Path: name, Size: int64(len(b)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
	}
	add("EFI/Linux/keelson_1+3.efi", Noise(3*mib))
	for name, b := range o.Files {
		add(name, b)
	}
	v := fat.Volume{Size: ESPSize, Label: "KEELSON", ID: 9, Time: Time, Hidden: ESP / 512}
	if err := fat.Write(context.Background(), io.NewOffsetWriter(f, ESP), v, files); err != nil {
		return err
	}
	for at, n := range map[int64]int{RootA: 8 * mib, 32 << 10: 100_000} { // the second as a board's boot loader
		if _, err := f.WriteAt(Noise(n), at); err != nil {
			return err
		}
	}
	if o.MBR {
		_, err = f.WriteAt(mbr(), 0)
		return err
	}
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, GUID: "11111111-2222-8333-8444-555555555555"}
	for i, p := range []struct {
		name    string
		at, len uint64 // MiB
	}{{"esp", 16, 34}, {"bootstate", 15, 1}, {"root-a", 51, 9}, {"root-b", 60, 8}, {"state", 68, 16}} {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: i + 1, Start: p.at << 11, End: (p.at+p.len)<<11 - 1, Name: p.name, Type: gpt.LinuxFilesystem,
			GUID: fmt.Sprintf("0000000%d-2222-8333-8444-555555555555", i+1),
		})
	}
	return table.Write(f, Size)
}

// mbr is a master boot record with the four partitions.
func mbr() []byte {
	b := make([]byte, 512)
	copy(b[440:], "\x11\x22\x33\x44")
	handmade.MBR(b,
		handmade.Part{Start: ESP, Size: 35 * mib, Type: "0x0c"},
		handmade.Part{Start: RootA, Size: 9 * mib, Type: "0x83"},
		handmade.Part{Start: 60 * mib, Size: 8 * mib, Type: "0x83"},
		handmade.Part{Start: State, Size: 17 * mib, Type: "0xda"},
	)
	return b
}
