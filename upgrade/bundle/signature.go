package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"aead.dev/minisign"
)

// sign returns the text of a minisign signature of message. The same key, message and comment give the same bytes.
func sign(k PrivateKey, message []byte, comment string) ([]byte, error) {
	r := minisign.NewReader(bytes.NewReader(message))
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil {
		return nil, err
	}
	// The id has its leading zeros, so that a signature's length does not depend on the key.
	text := r.SignWithComments(k.key, comment, fmt.Sprintf("signature of a Keelson bundle's manifest, key %016X", k.key.ID()))
	if !minisign.Verify(k.Public().key, message, text) {
		return nil, errors.New("secret key: it is damaged: its two halves do not belong together")
	}
	return text, nil
}

// trustedComment is what the signature says of the manifest in clear text.
func trustedComment(m *Manifest) string {
	return fmt.Sprintf("keelson bundle board=%s version=%s serial=%d", m.Board, m.Version, m.Serial)
}

// KeyID returns the id of the key that the bundle says it is signed with, as PublicKey.KeyID. It proves nothing. Errors: ErrSignature.
func (h *Header) KeyID() (string, error) {
	s, err := parseSignature(h.Signature)
	if err != nil {
		return "", err
	}
	return keyID(s.KeyID), nil
}

// Verify returns the trusted key that the bundle is signed with. It reads nothing but h: what the manifest says of the
// artefacts is then true, and they are to be checked against it.
// Errors: ErrSignature, ErrUntrusted; both say which key it was.
func (h *Header) Verify(keys []PublicKey) (PublicKey, error) {
	s, err := parseSignature(h.Signature)
	if err != nil {
		return PublicKey{}, err
	}
	known := false
	for _, k := range keys {
		if k.key.ID() != s.KeyID {
			continue
		}
		known = true
		if minisign.Verify(k.key, h.ManifestBytes, h.Signature) {
			return k, nil
		}
	}
	if known {
		return PublicKey{}, fmt.Errorf("%w: the manifest is not what was signed with key %s, or another key has the same id", ErrSignature, keyID(s.KeyID))
	}
	trusted := "none is"
	if len(keys) > 0 {
		var ids []string
		for _, k := range keys {
			ids = append(ids, k.KeyID())
		}
		trusted = "trusted: " + strings.Join(ids, ", ")
	}
	return PublicKey{}, fmt.Errorf("%w: it is signed with %s; %s", ErrUntrusted, keyID(s.KeyID), trusted)
}

// parseSignature reads a signature that is written as minisign writes it. Errors: ErrSignature.
func parseSignature(b []byte) (s minisign.Signature, err error) {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return s, fmt.Errorf("%w: it is not signed", ErrSignature)
	}
	if err := s.UnmarshalText(b); err != nil {
		return s, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	// One text for each signature: nothing but the untrusted comment can be changed without notice.
	if text, err := s.MarshalText(); err != nil || !bytes.Equal(text, b) {
		return s, fmt.Errorf("%w: it is not written as minisign writes it", ErrSignature)
	}
	if s.Algorithm != minisign.HashEdDSA {
		return s, fmt.Errorf("%w: it is of minisign's legacy kind, want a prehashed one: sign it without -l", ErrSignature)
	}
	return s, nil
}
