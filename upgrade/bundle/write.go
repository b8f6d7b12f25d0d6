package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Source is an artefact to write.
type Source struct {
	Name string // as in Artefact
	Size int64  // bytes; what Open gives must have as many
	Open func() (io.ReadCloser, error)
}

// Write writes a bundle with these artefacts, in this order, signed with key. Of m it takes what describes the system; Format, Index and
// Artefacts it fills in. Each source is read once. w must be empty; every byte up to the bundle's end is written, the header last, so that
// what is not finished is no bundle. Equal arguments give equal bytes.
// Errors: ErrFormat for what cannot be a bundle; those of w and of the sources.
func Write(w io.WriterAt, m Manifest, artefacts []Source, key PrivateKey) error {
	m.Format, m.Index = format, Index{SHA256: noHash}
	m.Artefacts = nil
	for _, s := range artefacts {
		m.Artefacts = append(m.Artefacts, Artefact{Name: s.Name, Size: s.Size, SHA256: noHash})
	}
	if err := m.check(); err != nil {
		return err
	}
	l, err := m.layout(key)
	if err != nil {
		return err
	}
	index := make([]byte, 0, l.index)
	for i := range m.Artefacts {
		if index, err = writeArtefact(w, &m.Artefacts[i], artefacts[i], index); err != nil {
			return fmt.Errorf("artefact %s: %w", m.Artefacts[i].Name, err)
		}
	}
	sum := sha256.Sum256(index)
	m.Index.SHA256 = hex.EncodeToString(sum[:])
	return writeHeader(w, &m, index, key, l)
}

// noHash stands for a SHA-256 that is not known yet, and is as long.
var noHash = strings.Repeat("0", 2*sha256.Size)

// encode returns the manifest's bytes.
func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// layout fills in all places, and returns the lengths. The places are in the manifest, so that its length depends on them and they
// on it: from the shortest header on, each round's is at least as long as the last one's, until it fits.
func (m *Manifest) layout(key PrivateKey) (l lengths, err error) {
	for header := int64(0); ; {
		if l.index, l.total, err = place(m.Artefacts, header); err != nil {
			return l, err
		}
		m.Index.Size = l.index
		manifest, err := m.encode()
		if err != nil {
			return l, err
		}
		signature, err := sign(key, manifest, trustedComment(m))
		if err != nil {
			return l, err
		}
		l.manifest, l.signature = int64(len(manifest)), int64(len(signature))
		if next := headerSize(l.manifest, l.signature, l.index); next != header {
			header = next
			continue
		}
		return l, nil
	}
}

// writeArtefact writes an artefact with its zeros, fills in its hash and appends its blocks' to the index.
func writeArtefact(w io.WriterAt, a *Artefact, s Source, index []byte) (_ []byte, err error) {
	r, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	whole, buf := sha256.New(), make([]byte, 256*blockSize)
	for done := int64(0); done < a.Size; {
		p := buf[:min(a.Size-done, int64(len(buf)))]
		if n, err := io.ReadFull(r, p); err != nil {
			return nil, wrongSize(done+int64(n), a.Size, err)
		}
		whole.Write(p)
		p = buf[:align(int64(len(p)))]
		clear(p[min(a.Size-done, int64(len(p))):])
		if _, err := w.WriteAt(p, a.Offset+done); err != nil {
			return nil, err
		}
		index = appendHashes(index, p)
		done += int64(len(p))
	}
	if n, err := io.ReadFull(r, buf[:1]); n != 0 || !errors.Is(err, io.EOF) {
		return nil, wrongSize(a.Size+int64(n), a.Size, err)
	}
	a.SHA256 = hexSum(whole)
	return index, nil
}

// wrongSize is the error for a source that ended, or went on, at another place than it said.
func wrongSize(got, want int64, err error) error {
	if err == nil {
		return fmt.Errorf("it has more than %d bytes", want)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it has %d bytes, want %d: %w", got, want, io.ErrUnexpectedEOF)
	}
	return err
}

// appendHashes appends the entries of whole blocks to an index.
func appendHashes(index, blocks []byte) []byte {
	for ; len(blocks) > 0; blocks = blocks[blockSize:] {
		sum := sha256.Sum256(blocks[:blockSize])
		index = append(index, sum[:hashSize]...)
	}
	return index
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func writeHeader(w io.WriterAt, m *Manifest, index []byte, key PrivateKey, l lengths) error {
	manifest, err := m.encode()
	if err != nil {
		return err
	}
	signature, err := sign(key, manifest, trustedComment(m))
	if err != nil {
		return err
	}
	if got := (lengths{int64(len(manifest)), int64(len(signature)), int64(len(index)), l.total}); got != l {
		return fmt.Errorf("BUG: the header's lengths are %v, planned were %v", got, l)
	}
	le := binary.LittleEndian
	b := make([]byte, 0, headerSize(l.manifest, l.signature, l.index))
	b = append(b, magic...)
	b = le.AppendUint32(b, format)
	b = le.AppendUint32(b, uint32(l.manifest))
	b = le.AppendUint32(b, uint32(l.signature))
	b = le.AppendUint32(b, uint32(l.index))
	b = le.AppendUint64(b, uint64(l.total))
	b = append(b, make([]byte, fixedSize-len(b))...)
	b = append(append(append(b, manifest...), signature...), index...)
	b = append(b, make([]byte, cap(b)-len(b))...)
	if _, err := w.WriteAt(b, 0); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	return nil
}
