package bundle

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzReadHeader: whatever the bytes, no panic, and an error that callers can tell; what is taken holds what users of Header rely on.
func FuzzReadHeader(f *testing.F) {
	k := key(f, 0)
	whole := write(f, manifest(), []Source{source("root", []byte("r")), source("boot/linux", []byte("l"))}, k)
	f.Add(whole, true)
	f.Add(whole[:4096], false)
	f.Add(forge(f, func(m *Manifest) { m.Artefacts[1].Offset = m.Artefacts[0].Offset }), true)
	f.Add([]byte(magic), false)
	f.Fuzz(func(t *testing.T, b []byte, known bool) {
		size := int64(-1)
		if known {
			size = int64(len(b))
		}
		h, err := ReadHeader(bytes.NewReader(b), size)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
				t.Errorf("ReadHeader = %v, want ErrFormat or ErrTruncated", err)
			}
			return
		}
		usable(t, h)
		if _, err := h.Verify([]PublicKey{k.Public()}); err != nil && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrUntrusted) {
			t.Errorf("Verify = %v, want ErrSignature or ErrUntrusted", err)
		}
		if err := VerifyAll(t.Context(), bytes.NewReader(b), h); err != nil && !errors.Is(err, ErrContent) && !errors.Is(err, ErrTruncated) {
			t.Errorf("VerifyAll = %v, want ErrContent or ErrTruncated", err)
		}
	})
}

// FuzzManifest gets behind the hashes: the manifest is put into a bundle with a right header around it.
func FuzzManifest(f *testing.F) {
	b := write(f, manifest(), sources(), key(f, 0))
	h := read(f, b)
	index, artefacts := h.Index, b[h.Manifest.Artefacts[0].Offset:]
	f.Add(h.ManifestBytes)
	f.Add([]byte(`{"format":1,"artefacts":[{},null,{"name":"root","size":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		if len(manifest) == 0 || len(manifest) > manifestMax {
			return
		}
		b := assemble(t, manifest, index, artefacts)
		h, err := ReadHeader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ReadHeader = %v, want ErrFormat", err)
			}
			return
		}
		usable(t, h)
		if _, err := h.Verify([]PublicKey{key(t, 0).Public()}); err != nil {
			t.Errorf("Verify = %v", err)
		}
	})
}

// usable checks what a caller takes for granted.
func usable(t *testing.T, h *Header) {
	t.Helper()
	names := map[string]bool{}
	var end int64
	for _, a := range h.Manifest.Artefacts {
		if names[a.Name] || checkName(a.Name) != nil {
			t.Errorf("artefact name %q", a.Name)
		}
		names[a.Name] = true
		if a.Offset < end || a.Offset%blockSize != 0 || a.Size < 1 {
			t.Errorf("artefact %+v, the one before it ends at %d", a, end)
		}
		end = a.Offset + a.Size
		if got := int64(len(h.Blocks(a))); got != align(a.Size)/blockSize {
			t.Errorf("%d blocks, want those of %d bytes", got, a.Size)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	pub := key(f, 0).Public()
	f.Add(pub.String())
	f.Add("untrusted comment: minisign public key\n" + pub.String() + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublicKey(text)
		if err != nil {
			return
		}
		if again, err := ParsePublicKey(k.String()); err != nil || again.String() != k.String() {
			t.Errorf("ParsePublicKey(%q) = %s, which is read as %s, %v", text, k, again, err)
		}
	})
}
