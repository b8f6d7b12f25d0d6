package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestEveryFlippedBitIsNoticed flips each bit of a small bundle's header, and some of its content. Nothing but the untrusted comment, which is not signed, may change.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	trusted := key(t, 0).Public()
	b := write(t, manifest(), sources(), key(t, 0))
	h := read(t, b)
	free := int64(64 + len(h.ManifestBytes) + len(commentPrefix))
	freeEnd := free + int64(bytes.IndexByte(h.Signature[len(commentPrefix):], '\n'))
	header := 64 + len(h.ManifestBytes) + len(h.Signature) + len(h.Index)
	for i, next := 0, 0; i < len(b); i = next {
		bits := 8
		next = i + 1
		if i >= header {
			// Blocks are hashed as a whole.
			bits, next = 1, i+7
		}
		for bit := range bits {
			b[i] ^= 1 << bit
			err := all(t, b, trusted)
			b[i] ^= 1 << bit
			if unsigned := int64(i) >= free && int64(i) < freeEnd; err == nil && !unsigned {
				t.Errorf("bit %d of byte %d was flipped, and it is still a good bundle", bit, i)
			}
			known := false
			for _, want := range []error{nil, ErrFormat, ErrTruncated, ErrSignature, ErrUntrusted, ErrContent} {
				known = known || errors.Is(err, want)
			}
			if !known {
				t.Errorf("bit %d of byte %d was flipped: %v, want an error that callers can tell", bit, i, err)
			}
		}
	}
	if err := all(t, b, trusted); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	b := write(t, manifest(), sources(), key(t, 0))
	h := read(t, b)
	for n := range b {
		if _, err := ReadHeader(bytes.NewReader(b[:n]), int64(n)); !errors.Is(err, ErrTruncated) {
			t.Fatalf("ReadHeader of %d bytes = %v, want ErrTruncated", n, err)
		}
	}
	header := 64 + len(h.ManifestBytes) + len(h.Signature) + len(h.Index)
	for n := range header {
		if _, err := ReadHeader(bytes.NewReader(b[:n]), -1); !errors.Is(err, ErrTruncated) {
			t.Fatalf("ReadHeader of %d bytes, size not known = %v, want ErrTruncated", n, err)
		}
	}
	// Without the size the header is whole; the end is missed when it is read.
	for n := header; n < len(b); n += 511 {
		h, err := ReadHeader(bytes.NewReader(b[:n]), -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyAll(t.Context(), bytes.NewReader(b[:n]), h); !errors.Is(err, ErrTruncated) {
			t.Fatalf("VerifyAll of %d bytes = %v, want ErrTruncated", n, err)
		}
	}
	if _, err := ReadHeader(bytes.NewReader(append(b, 0)), int64(len(b)+1)); !errors.Is(err, ErrFormat) {
		t.Errorf("ReadHeader with a byte too many = %v, want ErrFormat", err)
	}
}

func TestSignaturesThatAreNotAKnownKeysAreRefused(t *testing.T) {
	k, other := key(t, 0), key(t, 2)
	h := read(t, write(t, manifest(), sources(), k))
	signed := func(by PrivateKey, message []byte) []byte {
		s, err := sign(by, message, "x")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	lines := strings.SplitAfter(string(h.Signature), "\n")
	foreign := strings.SplitAfter(string(signed(k, []byte("{}"))), "\n")
	legacy, err := os.ReadFile(filepath.Join("testdata", "legacy.minisig"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signature []byte
		want      error
	}{
		"unsigned":                  {nil, ErrSignature},
		"zeros":                     {make([]byte, 300), ErrSignature},
		"not a signature":           {[]byte("signed: me\n"), ErrSignature},
		"of another manifest":       {signed(k, append(bytes.Clone(h.ManifestBytes), ' ')), ErrSignature},
		"another key":               {signed(other, h.ManifestBytes), ErrUntrusted},
		"another trusted comment":   {[]byte(lines[0] + lines[1] + "trusted comment: serial=99\n" + lines[3]), ErrSignature},
		"comment of another":        {[]byte(lines[0] + lines[1] + foreign[2] + foreign[3]), ErrSignature},
		"carriage returns":          {bytes.ReplaceAll(h.Signature, []byte("\n"), []byte("\r\n")), ErrSignature},
		"something behind it":       {append(bytes.Clone(h.Signature), '\n'), ErrSignature},
		"of minisign's legacy kind": {legacy, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			x := *h
			x.Signature = c.signature
			got, err := x.Verify([]PublicKey{key(t, 1).Public(), k.Public()})
			if !errors.Is(err, c.want) {
				t.Errorf("Verify = %s, %v, want %v", got, err, c.want)
			}
		})
	}
	if _, err := h.Verify(nil); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "none is") {
		t.Errorf("Verify without keys = %v, want ErrUntrusted", err)
	}
	// Anyone can give a key the id of a trusted one.
	fake := other
	twin := k.Public().key.ID()
	forged := signed(fake, h.ManifestBytes)
	x := *h
	x.Signature = withID(t, forged, twin)
	if _, err := x.Verify([]PublicKey{k.Public()}); !errors.Is(err, ErrSignature) {
		t.Errorf("Verify of a signature with the id of a trusted key = %v, want ErrSignature", err)
	}
}

// TestSignedNonsenseIsRefused: what a signer must not be able to do either, since every reader relies on it.
func TestSignedNonsenseIsRefused(t *testing.T) {
	if err := all(t, forge(t, func(*Manifest) {}), key(t, 0).Public()); err != nil {
		t.Fatalf("a bundle that is put together by hand: %v", err)
	}
	for name, change := range map[string]func(m *Manifest){
		"overlapping artefacts":          func(m *Manifest) { m.Artefacts[1].Offset = m.Artefacts[0].Offset },
		"partly overlapping":             func(m *Manifest) { m.Artefacts[1].Offset -= 4096 },
		"in the header":                  func(m *Manifest) { m.Artefacts[0].Offset = 0 },
		"behind the end":                 func(m *Manifest) { m.Artefacts[2].Offset += 4096 },
		"before the beginning":           func(m *Manifest) { m.Artefacts[0].Offset = -4096 },
		"not aligned":                    func(m *Manifest) { m.Artefacts[2].Offset += 512 },
		"another order":                  func(m *Manifest) { a := m.Artefacts; a[0], a[1] = a[1], a[0] },
		"larger than the file":           func(m *Manifest) { m.Artefacts[2].Size = 1 << 33 },
		"size that overflows":            func(m *Manifest) { m.Artefacts[2].Size = 1<<63 - 1 },
		"empty":                          func(m *Manifest) { m.Artefacts[2].Size = 0 },
		"negative size":                  func(m *Manifest) { m.Artefacts[2].Size = -1 },
		"one artefact too few":           func(m *Manifest) { m.Artefacts = m.Artefacts[:2] },
		"none":                           func(m *Manifest) { m.Artefacts = nil },
		"overlapping in the index":       func(m *Manifest) { m.Artefacts[1].Index = 0 },
		"behind the index":               func(m *Manifest) { m.Artefacts[2].Index = 1 << 40 },
		"negative index":                 func(m *Manifest) { m.Artefacts[1].Index = -16 },
		"another size of the index":      func(m *Manifest) { m.Index.Size += 16 },
		"another hash of the index":      func(m *Manifest) { m.Index.SHA256 = strings.Repeat("0", 64) },
		"no hash of an artefact":         func(m *Manifest) { m.Artefacts[0].SHA256 = "" },
		"format 2":                       func(m *Manifest) { m.Format = 2 },
		"no board":                       func(m *Manifest) { m.Board = "" },
		"negative serial":                func(m *Manifest) { m.Serial = -1 },
		"control characters in a text":   func(m *Manifest) { m.Version = "\x1b[2J" },
		"path that leads out":            name(2, "boot/../../etc/passwd"),
		"path that leads out at the end": name(2, "boot/.."),
		"absolute path":                  name(2, "/boot/x"),
		"absolute path behind boot/":     name(2, "boot//x"),
		"dot":                            name(2, "boot/./x"),
		"folder only":                    name(2, "boot/"),
		"slash at the end":               name(2, "boot/x/"),
		"backslash":                      name(2, `boot/..\x`),
		"zero byte":                      name(2, "boot/x\x00y"),
		"hidden":                         name(2, "boot/.x"),
		"dot at the end, which FAT cuts": name(2, "boot/x."),
		"blank at the end":               name(2, "boot/x "),
		"not ASCII":                      name(2, "boot/ä"),
		"colon, a stream on Windows":     name(2, "boot/x:y"),
		"no name":                        name(2, ""),
		"neither root nor boot":          name(2, "etc/passwd"),
		"roots":                          name(2, "roots"),
		"long name":                      name(2, "boot/"+strings.Repeat("x", 196)),
		"twice":                          name(2, "boot/linux"),
		"twice, but for the case":        name(2, "boot/LINUX"),
		"two roots":                      name(1, "root"),
		"file and folder":                name(1, "boot/dtb"),
		"file and folder, by the case":   name(1, "boot/DTB/Rockchip"),
	} {
		t.Run(name, func(t *testing.T) {
			b := forge(t, change)
			h, err := ReadHeader(bytes.NewReader(b), int64(len(b)))
			if !errors.Is(err, ErrFormat) {
				t.Errorf("ReadHeader = %v, %v, want ErrFormat", h, err)
			}
		})
	}
}

func name(i int, s string) func(*Manifest) {
	return func(m *Manifest) { m.Artefacts[i].Name = s }
}

// TestSignedContentThatIsAnotherIsNoticed: a signer's own mistakes.
func TestSignedContentThatIsAnotherIsNoticed(t *testing.T) {
	b := write(t, manifest(), sources(), key(t, 0))
	last := read(t, b).Manifest.Artefacts[2]
	for name, b := range map[string][]byte{
		"another hash of the whole": forge(t, func(m *Manifest) { m.Artefacts[0].SHA256 = sha(nil) }),
		"no zeros behind, with the index made of them": func() []byte {
			h := read(t, b)
			content := bytes.Clone(b[h.Manifest.Artefacts[0].Offset:])
			content[len(content)-1] = 1
			index := append(h.Index[:last.Index:last.Index], appendHashes(nil, content[len(content)-blockSize:])...)
			m := h.Manifest
			m.Index.SHA256 = sha(index)
			text, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			return assemble(t, text, index, content)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			if err := all(t, b, key(t, 0).Public()); !errors.Is(err, ErrContent) {
				t.Errorf("VerifyAll = %v, want ErrContent", err)
			}
		})
	}
}

func TestManifestsThatAreNoneAreRefused(t *testing.T) {
	b := write(t, manifest(), sources(), key(t, 0))
	h := read(t, b)
	good := string(h.ManifestBytes)
	for name, text := range map[string]string{
		"no JSON":                   "board: pc\n",
		"a list":                    "[]",
		"null":                      "null",
		"two objects":               good + good,
		"a number as text":          strings.Replace(good, `"serial": 1762077600`, `"serial": "1762077600"`, 1),
		"a serial too large":        strings.Replace(good, `"serial": 1762077600`, `"serial": 9223372036854775808`, 1),
		"a serial with a fraction":  strings.Replace(good, `"serial": 1762077600`, `"serial": 1.5`, 1),
		"artefacts that are a text": `{"format":1,"artefacts":"root"}`,
		"artefacts that are null":   `{"format":1,"artefacts":null}`,
		"empty artefacts":           `{"format":1,"artefacts":[` + strings.Repeat("{},", 100_000) + "{}]}",
		"deep nesting":              `{"format":1,"artefacts":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			b := assemble(t, []byte(text), h.Index, b[h.Manifest.Artefacts[0].Offset:])
			if _, err := ReadHeader(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrFormat) {
				t.Errorf("ReadHeader = %v, want ErrFormat", err)
			}
		})
	}
}

// TestLengthsAreNotBelieved gives lengths of a huge bundle in a small file.
func TestLengthsAreNotBelieved(t *testing.T) {
	for _, c := range []struct{ manifest, signature, index, total int }{
		{0, 300, 16, 8192},
		{1<<20 + 1, 300, 16, 2 << 20},
		{1<<32 - 1, 1<<32 - 1, 1<<32 - 1, -1},
		{1000, 4097, 16, 16384},
		{1000, 300, 0, 8192},
		{1000, 300, 17, 8192},
		{1000, 300, 64<<20 + 16, 80 << 20},
		{1000, 300, 16, 4095},
		{1000, 300, 16, 1 << 62},
	} {
		b := fmt.Appendf(nil, "KEELSONB%s%s%s%s%s", little(4, 1), little(4, c.manifest), little(4, c.signature), little(4, c.index), little(8, c.total))
		if _, err := parseFixed(append(b, make([]byte, 32)...)); !errors.Is(err, ErrFormat) {
			t.Errorf("parseFixed of lengths %+v = %v, want ErrFormat", c, err)
		}
	}
}

// TestMemoryIsTakenForBytesThatAreThere cuts bundles with the largest manifest and the largest index that there can be.
func TestMemoryIsTakenForBytesThatAreThere(t *testing.T) {
	m := read(t, write(t, manifest(), sources(), key(t, 0))).Manifest
	m.Artefacts = []Artefact{{Name: "root", Size: contentMax, SHA256: noHash}}
	l, err := m.layout(key(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := sign(key(t, 0), text, trustedComment(&m))
	if err != nil {
		t.Fatal(err)
	}
	head := func(manifest int64) []byte {
		b := fmt.Appendf(nil, "KEELSONB%s%s%s%s", little(4, 1), little(4, int(manifest)), little(4, len(signature)), little(4, int(l.index)))
		return append(fmt.Append(b, little(8, int(headerSize(manifest, int64(len(signature)), l.index)+contentMax))), make([]byte, 32)...)
	}
	for name, b := range map[string][]byte{
		"manifest": append(head(1<<20), make([]byte, 4096)...),
		"index":    append(append(append(head(l.manifest), text...), signature...), make([]byte, 4096)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ReadHeader(bytes.NewReader(b), -1)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), name) {
			t.Errorf("ReadHeader of a bundle that ends in its %s = %v, want ErrTruncated", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
			t.Errorf("ReadHeader took %d bytes of memory for a bundle of which %d are there", got, len(b))
		}
	}
}
