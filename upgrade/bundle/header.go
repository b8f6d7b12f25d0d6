package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Header is what comes before the artefacts.
type Header struct {
	Manifest      Manifest
	ManifestBytes []byte // what is signed
	Signature     []byte // the text of a minisign signature; empty: unsigned
	Index         []byte // 16 bytes for each block
}

// ReadHeader reads the header of the bundle in r, of size bytes; -1 means that the size is not known. It checks all that can be
// without the artefacts, but NOT the signature: nothing of the header may be believed before Verify. It reads the bytes up to the
// index's end once and in order, at most 1 MiB at a time besides the manifest, and takes no memory for bytes that it has not read.
// Errors: ErrFormat, ErrTruncated, those of r.
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	var fixed [fixedSize]byte
	n, err := readAt(r, fixed[:], 0)
	if string(fixed[:min(n, len(magic))]) != magic[:min(n, len(magic))] {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic)
	}
	if err != nil {
		return nil, fmt.Errorf("read the bundle's header: %w", err)
	}
	l, err := parseFixed(fixed[:])
	if err != nil {
		return nil, err
	}
	if size >= 0 && size < l.total {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrTruncated, size, l.total)
	}
	if size > l.total {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrFormat, size, l.total)
	}

	b := make([]byte, l.manifest+l.signature)
	if _, err := readAt(r, b, fixedSize); err != nil {
		return nil, fmt.Errorf("read the bundle's manifest: %w", err)
	}
	h := &Header{ManifestBytes: b[:l.manifest:l.manifest], Signature: b[l.manifest:]}
	if h.Manifest, err = parseManifest(h.ManifestBytes); err != nil {
		return nil, err
	}
	if err := h.Manifest.check(); err != nil {
		return nil, err
	}
	if err := h.checkPlaces(l); err != nil {
		return nil, err
	}

	if h.Index, err = readIndex(r, fixedSize+l.manifest+l.signature, l.index); err != nil {
		return nil, fmt.Errorf("read the bundle's index: %w", err)
	}
	if sum := sha256.Sum256(h.Index); hex.EncodeToString(sum[:]) != h.Manifest.Index.SHA256 {
		return nil, fmt.Errorf("%w: the index has not the SHA-256 that the manifest gives", ErrFormat)
	}
	return h, nil
}

// lengths are those of the first 64 bytes.
type lengths struct{ manifest, signature, index, total int64 }

func parseFixed(b []byte) (l lengths, err error) {
	le := binary.LittleEndian
	if f := le.Uint32(b[8:]); f != format {
		return l, fmt.Errorf("%w: format %d, this program knows %d: take a newer keelson", ErrFormat, f, format)
	}
	l = lengths{int64(le.Uint32(b[12:])), int64(le.Uint32(b[16:])), int64(le.Uint32(b[20:])), 0}
	total := le.Uint64(b[24:])
	if l.manifest < 1 || l.manifest > manifestMax || l.signature > signatureMax || l.index < hashSize || l.index > indexMax || l.index%hashSize != 0 {
		return l, fmt.Errorf("%w: lengths of manifest, signature and index are %d, %d and %d, want at most %d, %d and %d",
			ErrFormat, l.manifest, l.signature, l.index, manifestMax, signatureMax, indexMax)
	}
	if header := headerSize(l.manifest, l.signature, l.index); total < uint64(header) || total > uint64(header+contentMax) {
		return l, fmt.Errorf("%w: length of the file is %d, with a header of %d", ErrFormat, total, header)
	}
	l.total = int64(total)
	for i, c := range b[32:fixedSize] {
		if c != 0 {
			return l, fmt.Errorf("%w: byte %d is 0x%02x, want 0", ErrFormat, 32+i, c)
		}
	}
	return l, nil
}

// checkPlaces returns nil if all artefacts are where they have to be. Errors: ErrFormat.
func (h *Header) checkPlaces(l lengths) error {
	want := slices.Clone(h.Manifest.Artefacts)
	index, total, err := place(want, headerSize(l.manifest, l.signature, l.index))
	if err != nil {
		return err
	}
	for i, a := range h.Manifest.Artefacts {
		if a != want[i] {
			return fmt.Errorf("%w: artefact %s is at %d, its hashes at %d of the index, want %d and %d", ErrFormat, a.Name, a.Offset, a.Index, want[i].Offset, want[i].Index)
		}
	}
	if index != l.index || index != h.Manifest.Index.Size {
		return fmt.Errorf("%w: the index has %d bytes, and %d by the manifest, want %d", ErrFormat, l.index, h.Manifest.Index.Size, index)
	}
	if total != l.total {
		return fmt.Errorf("%w: length of the file is %d, want %d", ErrFormat, l.total, total)
	}
	return nil
}

// readIndex reads n bytes at off piece by piece, so that memory is taken for bytes that are there.
func readIndex(r io.ReaderAt, off, n int64) ([]byte, error) {
	const piece = 1 << 20
	var b []byte
	for int64(len(b)) < n {
		start := len(b)
		b = append(b, make([]byte, min(n-int64(start), piece))...)
		if _, err := readAt(r, b[start:], off+int64(start)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// readAt fills p from off. Errors: ErrTruncated for the end of r, those of r.
func readAt(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("%w: it ends at byte %d, want %d bytes at %d", ErrTruncated, off+int64(n), len(p), off)
	}
	return n, err
}

// Blocks returns the index's entries for an artefact of the manifest: for each block of 4096 bytes, the last one with zeros behind
// it, the first 16 bytes of its SHA-256. For any other artefact it returns nil.
func (h *Header) Blocks(a Artefact) [][16]byte {
	if !slices.Contains(h.Manifest.Artefacts, a) {
		return nil
	}
	list := make([][16]byte, a.blocks())
	for i := range list {
		list[i] = [16]byte(h.Index[a.Index+int64(i)*hashSize:])
	}
	return list
}
