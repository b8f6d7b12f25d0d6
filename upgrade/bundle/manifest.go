package bundle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// format is the only format number there is yet.
const format = 1

// textMax bounds the texts of a manifest, in bytes.
const textMax = 128

// Manifest says what is in a bundle. All texts are 1 to 128 printable ASCII characters without spaces, but those that may be empty.
type Manifest struct {
	Format        int        `json:"format"`        // 1
	Board         string     `json:"board"`         // name of a folder of boards/
	Arch          string     `json:"arch"`          // Go's name: "amd64", "arm64"
	Version       string     `json:"version"`       // Keelson's
	Serial        int64      `json:"serial"`        // grows with every release; 0 or more
	MinimumSerial int64      `json:"minimumSerial"` // what this system demands of those that replace it; 0 or more
	Kubernetes    string     `json:"kubernetes"`    // "v1.37.2"; may be empty
	Kernel        string     `json:"kernel"`        // "6.12.48-amd64"; may be empty
	Created       string     `json:"created"`       // RFC 3339
	RootHash      string     `json:"rootHash"`      // of dm-verity, of the root: 64 hexadecimal digits, lower case
	Index         Index      `json:"index"`
	Artefacts     []Artefact `json:"artefacts"` // 1 to 256, in the order of the file
}

// Index says what the index section is.
type Index struct {
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits, lower case
}

// Artefact is one of the files in a bundle.
type Artefact struct {
	Name   string `json:"name"`   // "root", or "boot/" and the name of a boot file of a slot, with slashes
	Offset int64  `json:"offset"` // bytes of the bundle file; a multiple of 4096
	Size   int64  `json:"size"`   // bytes, without the zeros behind it; 1 or more
	SHA256 string `json:"sha256"` // of these bytes: 64 hexadecimal digits, lower case
	Index  int64  `json:"index"`  // offset of its first block's hash in the index section, bytes
}

// blocks is how many blocks the artefact has.
func (a Artefact) blocks() int64 { return align(a.Size) / blockSize }

// parseManifest decodes a manifest, and takes no more memory than a small multiple of its length. Errors: ErrFormat.
func parseManifest(b []byte) (Manifest, error) {
	// The list is decoded one by one, so that a thousand empty members in a manifest that nobody has signed are not a thousand artefacts.
	var m struct {
		Manifest
		Artefacts json.RawMessage `json:"artefacts"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: manifest: %w", ErrFormat, err)
	}
	list, err := parseArtefacts(m.Artefacts)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: manifest: artefacts: %w", ErrFormat, err)
	}
	m.Manifest.Artefacts = list
	return m.Manifest, nil
}

func parseArtefacts(b json.RawMessage) ([]Artefact, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("want a list of 1 to %d", artefactsMax)
	}
	var list []Artefact
	for d.More() {
		if len(list) == artefactsMax {
			return nil, fmt.Errorf("more than %d", artefactsMax)
		}
		var a Artefact
		if err := d.Decode(&a); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// check returns nil if the manifest can be that of a bundle, its places but not its hashes set aside. Errors: ErrFormat.
func (m *Manifest) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: manifest: "+format, append([]any{ErrFormat}, args...)...)
	}
	if m.Format != format {
		return bad("format %d, this program knows %d: take a newer keelson", m.Format, format)
	}
	for _, t := range []struct {
		what, text string
		required   bool
	}{
		{"board", m.Board, true},
		{"arch", m.Arch, true},
		{"version", m.Version, true},
		{"kubernetes", m.Kubernetes, false},
		{"kernel", m.Kernel, false},
	} {
		if t.text == "" && t.required {
			return bad("%s is missing", t.what)
		}
		if len(t.text) > textMax || strings.ContainsFunc(t.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return bad("%s %.40q: want at most %d printable ASCII characters without spaces", t.what, t.text, textMax)
		}
	}
	if m.Serial < 0 || m.MinimumSerial < 0 {
		return bad("serial %d, minimum serial %d: want 0 or more", m.Serial, m.MinimumSerial)
	}
	if _, err := time.Parse(time.RFC3339, m.Created); err != nil {
		return bad("created: %w", err)
	}
	if !isHash(m.RootHash) {
		return bad("root hash %.80q: want 64 hexadecimal digits, lower case", m.RootHash)
	}
	if !isHash(m.Index.SHA256) {
		return bad("SHA-256 of the index %.80q: want 64 hexadecimal digits, lower case", m.Index.SHA256)
	}
	for i, a := range m.Artefacts {
		if !isHash(a.SHA256) {
			return bad("artefact %d: SHA-256 %.80q: want 64 hexadecimal digits, lower case", i, a.SHA256)
		}
	}
	if err := checkNames(m.Artefacts); err != nil {
		return bad("%w", err)
	}
	return nil
}

// isHash says whether s is a SHA-256 as manifests have it.
func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && s == strings.ToLower(s)
}
