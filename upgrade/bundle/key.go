package bundle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"aead.dev/minisign"
)

// commentPrefix begins the first line of every minisign file.
const commentPrefix = "untrusted comment: "

// commentMax bounds a comment, in bytes: what minisign takes, COMMENTMAXBYTES, less the prefix and what GenerateKey adds.
const commentMax = 900

// PublicKey is a key that verifies bundles.
type PublicKey struct{ key minisign.PublicKey }

// ParsePublicKey reads a minisign public key: the text of a .pub file, or its second line, which is 56 characters of base64.
func ParsePublicKey(text string) (PublicKey, error) {
	line := strings.TrimSpace(text)
	if strings.HasPrefix(line, strings.TrimSpace(commentPrefix)) {
		_, rest, _ := strings.Cut(line, "\n")
		line = strings.TrimSpace(rest)
	}
	var k PublicKey
	const want = "want a minisign public key: a .pub file, or its 56 characters of base64"
	switch {
	case line == "":
		return k, errors.New("public key: it is empty; " + want)
	case len(line) != 56:
		return k, fmt.Errorf("public key: %d characters; %s", len(line), want)
	}
	if err := k.key.UnmarshalText([]byte(line)); err != nil {
		return k, fmt.Errorf("public key: %w; %s", err, want)
	}
	return k, nil
}

// String returns the key as 56 characters of base64, the second line of a .pub file.
func (k PublicKey) String() string { return k.key.String() }

// KeyID returns the key's id, as minisign prints it: up to 16 hexadecimal digits, upper case. It is a name, and proves nothing.
func (k PublicKey) KeyID() string { return keyID(k.key.ID()) }

func keyID(id uint64) string { return strings.ToUpper(strconv.FormatUint(id, 16)) }

// PrivateKey is a key that signs bundles. Its text is nowhere in errors.
type PrivateKey struct{ key minisign.PrivateKey }

// ParsePrivateKey reads a minisign secret key file. password is asked once if the key is encrypted; its errors are returned as they are,
// and nil means that there is no way to ask. Decrypting takes up to 1 GiB of memory and some seconds: minisign's choice.
func ParsePrivateKey(text []byte, password func() ([]byte, error)) (PrivateKey, error) {
	var k PrivateKey
	if minisign.IsEncrypted(text) {
		if password == nil {
			return k, errors.New("secret key: it is encrypted, and there is no password; minisign -C -W -s FILE takes the encryption off")
		}
		p, err := password()
		if err != nil {
			return k, err
		}
		if k.key, err = minisign.DecryptKey(string(p), text); err != nil {
			return PrivateKey{}, errors.New("secret key: wrong password, or a damaged file")
		}
	} else if err := k.key.UnmarshalText(text); err != nil {
		return PrivateKey{}, fmt.Errorf("secret key: %w; want a minisign secret key file", err)
	}
	// An unencrypted file has no checksum; its two halves are checked by using them.
	if _, err := sign(k, []byte("self-test"), "self-test"); err != nil {
		return PrivateKey{}, err
	}
	return k, nil
}

// Public returns the key that verifies what k signs.
func (k PrivateKey) Public() PublicKey {
	p, _ := k.key.Public().(minisign.PublicKey)
	return PublicKey{p}
}

// GenerateKey makes a key pair, and the two files that minisign would: that of the public key, and that of the secret key, which is
// not encrypted (minisign -G -W) and must be kept with mode 0600. The comment is for people, one line; it may be empty.
func GenerateKey(comment string) (pub PublicKey, pubFile, secretFile []byte, err error) {
	if strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(comment) > commentMax {
		return pub, nil, nil, fmt.Errorf("comment of a key: want one line of at most %d bytes", commentMax)
	}
	p, s, err := minisign.GenerateKey(nil)
	if err != nil {
		return pub, nil, nil, fmt.Errorf("make a key: %w", err)
	}
	pub = PublicKey{p}
	text, err := s.MarshalText()
	if err != nil {
		return PublicKey{}, nil, nil, fmt.Errorf("make a key: %w", err)
	}
	_, secret, _ := strings.Cut(string(text), "\n")
	publicLine, secretLine := "minisign public key "+pub.KeyID(), "minisign secret key "+pub.KeyID()+", not encrypted"
	if comment != "" {
		publicLine, secretLine = comment+": "+publicLine, comment+": "+secretLine
	}
	pubFile = []byte(commentPrefix + publicLine + "\n" + pub.String() + "\n")
	secretFile = []byte(commentPrefix + secretLine + "\n" + secret + "\n")
	return pub, pubFile, secretFile, nil
}
