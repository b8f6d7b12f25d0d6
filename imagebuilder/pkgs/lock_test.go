package pkgs

import (
	"bytes"
	"strings"
	"testing"
)

var (
	hexA     = strings.Repeat("a1", 32)
	goodLine = "root nftables 1.1.3-1 amd64 76944 " + hexA + " nftables 1.1.3-1\n"
	goodLock = "suite trixie\nepoch 1700000000\n" + goodLine +
		"tools-arm64 libc6 2.41-12+deb13u4 arm64 2300 " + hexA + " glibc 2.41-12+deb13u4\n"
)

func TestLockIsWrittenAsItIsRead(t *testing.T) {
	l, err := parseLock("x.lock", []byte(goodLock))
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseLock("x.lock", l.Text())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(l.Text(), again.Text()) || len(l.Packages) != 2 || l.Suite != "trixie" || l.Epoch.Unix() != 1_700_000_000 {
		t.Errorf("got %+v after writing and reading, want %+v", again, l)
	}
}

func TestLockFaultsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "x.lock: no suite"},
		{"few fields", "suite trixie\nroot nftables", "x.lock:2: got 2 fields"},
		{"group", strings.Replace(goodLine, "root", "roots", 1), "x.lock:1: group"},
		{"name that leaves a folder", strings.Replace(goodLine, "nftables", "../nftables", 1), "x.lock:1: package"},
		{"version with a slash", strings.Replace(goodLine, "1.1.3-1", "1/1", 1), "x.lock:1: nftables: version"},
		{"arch", strings.Replace(goodLine, "amd64", "sparc", 1), "x.lock:1: nftables: architecture"},
		{"size", strings.Replace(goodLine, "76944", "-1", 1), "x.lock:1: nftables: size"},
		{"digest", strings.Replace(goodLine, hexA, strings.ToUpper(hexA), 1), "x.lock:1: nftables: sha256"},
		{"twice", goodLine + goodLine, "x.lock:2: nftables is there twice"},
		{"epoch", "epoch yesterday", "x.lock:1: epoch"},
	} {
		_, err := parseLock("x.lock", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: parseLock = %v, want an error that begins with %q", c.name, err, c.want)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(goodLock))
	f.Add([]byte("epoch 99999999999999999999"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLock("x.lock", text)
		if err != nil {
			return
		}
		again, err := parseLock("x.lock", l.Text())
		if err != nil || !bytes.Equal(again.Text(), l.Text()) {
			t.Errorf("what was written is not read back: %v", err)
		}
	})
}
