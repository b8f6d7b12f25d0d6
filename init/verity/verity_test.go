package verity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

const hash = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestParse(t *testing.T) {
	p, err := Parse(hash, "300:1228800:00ff")
	if err != nil {
		t.Fatal(err)
	}
	if p.DataBlocks != 300 || p.HashOffset != 1228800 || !bytes.Equal(p.Salt, []byte{0, 0xff}) || p.RootHash[31] != 0x1f {
		t.Errorf("Parse = %+v", p)
	}
	// 300 digests fill 3 blocks of 128, and these one more.
	if got, want := p.Size(), uint64(300+1+4)*BlockSize; got != want {
		t.Errorf("Size = %d, want %d", got, want)
	}
	want := "1 /dev/x /dev/x 4096 4096 300 301 sha256 " + hash + " 00ff"
	if got := p.Table("/dev/x"); got != want {
		t.Errorf("Table = %q, want %q", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, hash, spec string }{
		{"no hash", "", "1:4096:"},
		{"short hash", hash[2:], "1:4096:"},
		{"hash not hexadecimal", "zz" + hash[2:], "1:4096:"},
		{"no spec", hash, ""},
		{"two fields", hash, "1:4096"},
		{"four fields", hash, "1:4096::"},
		{"no data", hash, "0:4096:"},
		{"too much data", hash, "1099511627777:9007199254740992:"},
		{"tree inside the data", hash, "2:4096:"},
		{"tree not on a block", hash, "1:4097:"},
		{"salt not hexadecimal", hash, "1:4096:x"},
		{"long salt", hash, "1:4096:" + strings.Repeat("00", 257)},
	} {
		if p, err := Parse(c.hash, c.spec); err == nil {
			t.Errorf("%s: Parse(%q, %q) = %+v, want an error", c.name, c.hash, c.spec, p)
		}
	}
}

func TestTopDigestOfAShortPartition(t *testing.T) {
	p, err := Parse(hash, "300:1228800:")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.TopDigest(bytes.NewReader(make([]byte, 1228800))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("TopDigest = %v, want io.ErrUnexpectedEOF", err)
	}
}

// TestTopDigestIsVeritysetupsRootHash: one data block has no tree, 128 have one block of
// it, 129 have two levels.
func TestTopDigestIsVeritysetupsRootHash(t *testing.T) {
	veritysetup := reftool.Need(t, "veritysetup", "cryptsetup-bin")
	for _, blocks := range []int{1, 2, 128, 129, 20000} {
		path := filepath.Join(t.TempDir(), "root")
		data := bytes.Repeat([]byte("keelson "), blocks*BlockSize/8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(veritysetup, "format", "--salt", "00ff", "--hash-offset", fmt.Sprint(len(data)), path, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("veritysetup wrote %s", out)
		}
		p, err := Parse(string(m[1]), fmt.Sprintf("%d:%d:00ff", blocks, len(data)))
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if sum, err := p.TopDigest(f); err != nil || sum != p.RootHash {
			t.Errorf("%d blocks: TopDigest = %x, %v, want %x", blocks, sum, err, p.RootHash)
		}
		if !p.HasSuperblock(f) {
			t.Errorf("%d blocks: HasSuperblock = false", blocks)
		}
		if info, err := f.Stat(); err != nil || uint64(info.Size()) != p.Size() {
			t.Errorf("%d blocks: Size = %d, veritysetup made %d", blocks, p.Size(), info.Size())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(hash, "300:1228800:00ff")
	f.Fuzz(func(t *testing.T, h, spec string) {
		p, err := Parse(h, spec)
		if err != nil {
			return
		}
		if p.Size() <= p.HashOffset {
			t.Errorf("Parse(%q, %q): Size %d", h, spec, p.Size())
		}
		p.Table("/dev/x")
		p.TopDigest(bytes.NewReader(nil))
	})
}
