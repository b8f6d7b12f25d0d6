package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"testing"
)

// keys are two that sign, and one that nobody trusts.
var keys = sync.OnceValues(func() (k [3]PrivateKey, err error) {
	for i := range k {
		_, _, secret, err := GenerateKey("test")
		if err != nil {
			return k, err
		}
		if k[i], err = ParsePrivateKey(secret, nil); err != nil {
			return k, err
		}
	}
	return k, nil
})

func key(t testing.TB, n int) PrivateKey {
	t.Helper()
	k, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return k[n]
}

// file is a writer and reader in memory.
type file struct{ b []byte }

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

func manifest() Manifest {
	return Manifest{
		Board: "pc", Arch: "amd64", Version: "0.2.0", Serial: 1762077600, MinimumSerial: 7, Kubernetes: "v1.37.2", Kernel: "6.12.48+deb13-amd64",
		Created: "2026-11-02T10:00:00Z", RootHash: fmt.Sprintf("%064x", 0xabc),
	}
}

func source(name string, data []byte) Source {
	return Source{name, int64(len(data)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// pattern is content in which no two blocks are the same.
func pattern(seed byte, n int) []byte {
	b := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256([]byte{seed}); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// content is that of small bundles: sizes of one byte, of whole blocks, and of neither.
var content = map[string][]byte{"root": pattern(1, 3*blockSize), "boot/linux": pattern(2, blockSize+1), "boot/dtb/rockchip/x.dtb": {7}}

func sources() (list []Source) {
	for _, name := range []string{"root", "boot/linux", "boot/dtb/rockchip/x.dtb"} {
		list = append(list, source(name, content[name]))
	}
	return list
}

func write(t testing.TB, m Manifest, list []Source, k PrivateKey) []byte {
	t.Helper()
	var f file
	if err := Write(&f, m, list, k); err != nil {
		t.Fatal(err)
	}
	return f.b
}

func read(t testing.TB, b []byte) *Header {
	t.Helper()
	h, err := ReadHeader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// all reads and checks a whole bundle.
func all(t testing.TB, b []byte, trusted ...PublicKey) error {
	h, err := ReadHeader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if _, err := h.Verify(trusted); err != nil {
		return err
	}
	return VerifyAll(t.Context(), bytes.NewReader(b), h)
}

// forge returns a bundle whose manifest was changed by change after all was laid out, signed again.
func forge(t testing.TB, change func(m *Manifest)) []byte {
	t.Helper()
	b := write(t, manifest(), sources(), key(t, 0))
	h := read(t, b)
	m := h.Manifest
	m.Artefacts = append([]Artefact(nil), m.Artefacts...)
	change(&m)
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return assemble(t, text, h.Index, b[headerSize(int64(len(h.ManifestBytes)), int64(len(h.Signature)), int64(len(h.Index))):])
}

// assemble puts a bundle together from these parts, by its own means.
func assemble(t testing.TB, manifest, index, artefacts []byte) []byte {
	t.Helper()
	signature, err := sign(key(t, 0), manifest, "forged")
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Appendf(nil, "KEELSONB%s%s%s%s", little(4, 1), little(4, len(manifest)), little(4, len(signature)), little(4, len(index)))
	rest := append(append(append(make([]byte, 0, 1<<16), manifest...), signature...), index...)
	for (64+len(rest))%4096 != 0 {
		rest = append(rest, 0)
	}
	rest = append(rest, artefacts...)
	head = append(head, little(8, 64+len(rest))...)
	return append(append(head, make([]byte, 32)...), rest...)
}

func little(bytes, n int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return string(b)
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
