package verity

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

// testImage writes an image of pseudo-random bytes and returns it opened for writing.
func testImage(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "root.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAppendIsAcceptedByVeritysetup(t *testing.T) {
	veritysetup := reftool.Need(t, "veritysetup", "cryptsetup-bin")
	salt, uuid := [32]byte{0xab, 31: 0xcd}, [16]byte{1, 2, 3, 15: 4}
	// Around each number of blocks where the tree gets one more block or level.
	for _, size := range []int64{1, 4095, 4096, 4097, 2 * 4096, 128 * 4096, 128*4096 + 1, 129 * 4096, 128 * 128 * 4096, 128*128*4096 + 5, 40_000_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			f := testImage(t, size)
			tree, err := Append(context.Background(), f, size, salt, uuid)
			if err != nil {
				t.Fatal(err)
			}
			st, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() != tree.Size {
				t.Errorf("file has %d bytes, Tree.Size says %d", st.Size(), tree.Size)
			}
			offset := fmt.Sprintf("--hash-offset=%d", tree.HashOffset)
			verify := func() ([]byte, error) {
				return exec.Command(veritysetup, "verify", f.Name(), f.Name(), hex.EncodeToString(tree.RootHash[:]), offset).CombinedOutput()
			}
			if out, err := verify(); err != nil {
				t.Fatalf("veritysetup verify: %v\n%s", err, out)
			}
			if _, err := f.WriteAt([]byte{0x55, 0x56}, size/2); err != nil {
				t.Fatal(err)
			}
			if out, err := verify(); err == nil {
				t.Errorf("veritysetup accepts a changed block\n%s", out)
			}
		})
	}
}

func TestAppendGivesSameBytesOnAnyCoreCount(t *testing.T) {
	const size = 9_000_000
	var want []byte
	for _, cores := range []int{1, 2, 7} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			f := testImage(t, size)
			if _, err := Append(context.Background(), f, size, [32]byte{9}, [16]byte{9}); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("with %d cores the bytes differ", cores)
			}
		}()
	}
}

func TestAppendReportsShortFile(t *testing.T) {
	f := testImage(t, 4096)
	if _, err := Append(context.Background(), f, 3*4096, [32]byte{}, [16]byte{}); err == nil {
		t.Error("Append of a file shorter than its size: got nil, want an error")
	}
	if _, err := Append(context.Background(), f, 0, [32]byte{}, [16]byte{}); err == nil {
		t.Error("Append of nothing: got nil, want an error")
	}
}
