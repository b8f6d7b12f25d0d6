package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestWhatIsWrittenIsReadBack finds each artefact by the manifest alone, as an implementation of its own would.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	k := key(t, 0)
	b := write(t, manifest(), sources(), k)
	h := read(t, b)
	if got, err := h.Verify([]PublicKey{k.Public()}); err != nil || got.String() != k.Public().String() {
		t.Fatalf("Verify = %s, %v", got, err)
	}
	if id, err := h.KeyID(); err != nil || id != k.Public().KeyID() {
		t.Errorf("KeyID = %s, %v, want %s", id, err, k.Public().KeyID())
	}
	if err := VerifyAll(t.Context(), bytes.NewReader(b), h); err != nil {
		t.Fatal(err)
	}
	want := manifest()
	got := h.Manifest
	got.Artefacts, got.Format, got.Index = nil, 0, Index{}
	if x, y := encoded(t, got), encoded(t, want); x != y {
		t.Errorf("manifest\n%s, want\n%s", x, y)
	}
	if len(h.Manifest.Artefacts) != len(content) {
		t.Fatalf("%d artefacts, want %d", len(h.Manifest.Artefacts), len(content))
	}
	for _, a := range h.Manifest.Artefacts {
		data := content[a.Name]
		if a.Offset%4096 != 0 || a.Size != int64(len(data)) || !bytes.Equal(b[a.Offset:a.Offset+a.Size], data) || a.SHA256 != sha(data) {
			t.Errorf("artefact %+v is not what was written", a)
		}
		padded := append(bytes.Clone(data), make([]byte, align(a.Size)-a.Size)...)
		blocks := h.Blocks(a)
		if len(blocks)*4096 != len(padded) {
			t.Fatalf("Blocks(%s) = %d blocks, want %d bytes", a.Name, len(blocks), len(padded))
		}
		for i, got := range blocks {
			if want := sha256.Sum256(padded[i*4096:][:4096]); !bytes.Equal(got[:], want[:16]) {
				t.Errorf("Blocks(%s)[%d] = %x, want %x", a.Name, i, got, want[:16])
			}
		}
	}
	if got := h.Blocks(Artefact{Name: "root", Size: 1 << 40}); got != nil {
		t.Errorf("Blocks of an artefact that is not in the bundle = %d blocks, want none", len(got))
	}
	if len(b)%4096 != 0 {
		t.Errorf("%d bytes, want a multiple of 4096", len(b))
	}
}

func encoded(t *testing.T, m Manifest) string {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBundlesOfEqualInputsAreEqual(t *testing.T) {
	one, two := write(t, manifest(), sources(), key(t, 0)), write(t, manifest(), sources(), key(t, 0))
	if !bytes.Equal(one, two) {
		t.Error("two bundles of the same inputs and key differ")
	}
	// With another key the signature alone differs.
	h, g := read(t, one), read(t, write(t, manifest(), sources(), key(t, 1)))
	if !bytes.Equal(h.ManifestBytes, g.ManifestBytes) || !bytes.Equal(h.Index, g.Index) || bytes.Equal(h.Signature, g.Signature) || len(h.Signature) != len(g.Signature) {
		t.Error("another key changes more than the signature, or not even that")
	}
}

// TestLayoutIsFoundAroundBlockBoundaries lets the manifest's length, which depends on the offsets in it, cross the end of a block.
func TestLayoutIsFoundAroundBlockBoundaries(t *testing.T) {
	headers := map[int64]bool{}
	for _, n := range []int{1, 8, 14, 15, 16, 31, 32, 33, 64} {
		for pad := 1; pad <= textMax; pad += 3 {
			m := manifest()
			m.Kernel = strings.Repeat("k", pad)
			list := []Source{source("root", content["root"])}
			for i := range n {
				list = append(list, source("boot/f"+strings.Repeat("x", i), []byte{byte(i)}))
			}
			b := write(t, m, list, key(t, 0))
			if err := all(t, b, key(t, 0).Public()); err != nil {
				t.Fatalf("%d files, %d bytes: %v", n, len(m.Kernel), err)
			}
			headers[read(t, b).Manifest.Artefacts[0].Offset] = true
		}
	}
	if len(headers) < 3 {
		t.Errorf("headers of %d sizes only", len(headers))
	}
}

func TestAnyKeyThatIsTrustedIsEnough(t *testing.T) {
	old, next := key(t, 0), key(t, 1)
	both := []PublicKey{old.Public(), next.Public()}
	for _, k := range []PrivateKey{old, next} {
		got, err := read(t, write(t, manifest(), sources(), k)).Verify(both)
		if err != nil || got.KeyID() != k.Public().KeyID() {
			t.Errorf("Verify of a bundle signed with %s = %s, %v", k.Public().KeyID(), got.KeyID(), err)
		}
	}
	// Once the old one is not trusted any more, what it signed is refused.
	if _, err := read(t, write(t, manifest(), sources(), old)).Verify(both[1:]); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Verify with the new key alone = %v, want ErrUntrusted", err)
	}
}

func TestManifestMembersOfLaterVersionsAreIgnored(t *testing.T) {
	b := write(t, manifest(), sources(), key(t, 0))
	h := read(t, b)
	// As long as the manifest ends in the same block, nothing moves.
	text := bytes.Replace(h.ManifestBytes, []byte("{\n"), []byte("{\n  \"signedOff\": {\"by\": [1, null]},\n"), 1)
	art := b[h.Manifest.Artefacts[0].Offset:]
	if err := all(t, assemble(t, text, h.Index, art), key(t, 0).Public()); err != nil {
		t.Error(err)
	}
}

func TestWriteRefusesWhatCannotBeABundle(t *testing.T) {
	one := []Source{source("root", content["root"])}
	for name, c := range map[string]struct {
		change  func(m *Manifest)
		sources []Source
	}{
		"no artefacts":           {sources: nil},
		"an empty artefact":      {sources: []Source{source("root", nil)}},
		"a negative size":        {sources: []Source{{Name: "root", Size: -4096}}},
		"more than the index":    {sources: []Source{{Name: "root", Size: contentMax + 1}}},
		"sizes that overflow":    {sources: []Source{{Name: "root", Size: 1<<63 - 1}, {Name: "boot/x", Size: 1<<63 - 1}}},
		"too many artefacts":     {sources: many(257)},
		"no board":               {sources: one, change: func(m *Manifest) { m.Board = "" }},
		"a version of two lines": {sources: one, change: func(m *Manifest) { m.Version = "1\ntrusted comment: x" }},
		"a long kernel version":  {sources: one, change: func(m *Manifest) { m.Kernel = strings.Repeat("6", 129) }},
		"a negative serial":      {sources: one, change: func(m *Manifest) { m.Serial = -1 }},
		"no time":                {sources: one, change: func(m *Manifest) { m.Created = "yesterday" }},
		"no root hash":           {sources: one, change: func(m *Manifest) { m.RootHash = "" }},
		"root hash in capitals":  {sources: one, change: func(m *Manifest) { m.RootHash = strings.Repeat("A", 64) }},
	} {
		t.Run(name, func(t *testing.T) {
			m, f := manifest(), file{}
			if c.change != nil {
				c.change(&m)
			}
			if err := Write(&f, m, c.sources, key(t, 0)); !errors.Is(err, ErrFormat) || len(f.b) != 0 {
				t.Errorf("Write = %v, %d bytes written, want ErrFormat and none", err, len(f.b))
			}
		})
	}
}

func many(n int) (list []Source) {
	for i := range n {
		list = append(list, source("boot/"+strings.Repeat("x", i%100+1)+strings.Repeat("y", i/100), []byte{1}))
	}
	return list
}

func TestManyArtefactsFit(t *testing.T) {
	if err := all(t, write(t, manifest(), many(256), key(t, 0)), key(t, 0).Public()); err != nil {
		t.Error(err)
	}
}

// TestWriteNoticesSourcesOfAnotherLength also sees that nothing that could be taken for a bundle is left.
func TestWriteNoticesSourcesOfAnotherLength(t *testing.T) {
	for name, d := range map[string]int64{"shorter": 1, "longer": -1} {
		t.Run(name, func(t *testing.T) {
			s := source("root", content["root"])
			s.Size += d
			var f file
			if err := Write(&f, manifest(), []Source{s}, key(t, 0)); err == nil {
				t.Fatal("Write = nil, want an error")
			}
			if _, err := ReadHeader(bytes.NewReader(f.b), int64(len(f.b))); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
				t.Errorf("ReadHeader of the rest = %v", err)
			}
		})
	}
}

func TestWriteRefusesAKeyThatIsNone(t *testing.T) {
	var f file
	if err := Write(&f, manifest(), sources(), PrivateKey{}); err == nil || len(f.b) != 0 {
		t.Errorf("Write = %v, %d bytes written, want an error and none", err, len(f.b))
	}
}

func TestVerifyAllEndsWithItsContext(t *testing.T) {
	b := write(t, manifest(), sources(), key(t, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := VerifyAll(ctx, bytes.NewReader(b), read(t, b)); !errors.Is(err, context.Canceled) {
		t.Errorf("VerifyAll = %v, want context.Canceled", err)
	}
}

// counting notes what is read.
type counting struct {
	io.ReaderAt
	end     int64
	largest int
	fail    error
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	if c.fail != nil && off > 0 {
		return 0, c.fail
	}
	c.end, c.largest = max(c.end, off+int64(len(p))), max(c.largest, len(p))
	return c.ReaderAt.ReadAt(p, off)
}

func TestReadHeaderReadsNothingBehindTheIndex(t *testing.T) {
	b := write(t, manifest(), []Source{source("root", pattern(1, 3<<20))}, key(t, 0))
	c := &counting{ReaderAt: bytes.NewReader(b)}
	h, err := ReadHeader(c, -1)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(64 + len(h.ManifestBytes) + len(h.Signature) + len(h.Index)); c.end != want {
		t.Errorf("read up to byte %d, want %d", c.end, want)
	}
}

func TestErrorsOfTheReaderAreKept(t *testing.T) {
	b, broken := write(t, manifest(), sources(), key(t, 0)), errors.New("the server is gone")
	c := &counting{ReaderAt: bytes.NewReader(b), fail: broken}
	if _, err := ReadHeader(c, -1); !errors.Is(err, broken) || errors.Is(err, ErrTruncated) {
		t.Errorf("ReadHeader = %v, want the reader's error alone", err)
	}
	if err := VerifyAll(t.Context(), c, read(t, b)); !errors.Is(err, broken) {
		t.Errorf("VerifyAll = %v, want the reader's error", err)
	}
}
