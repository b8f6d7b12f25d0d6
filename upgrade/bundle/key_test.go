package bundle

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

// withID returns a signature with another key id.
func withID(t *testing.T, text []byte, id uint64) []byte {
	t.Helper()
	var s minisign.Signature
	if err := s.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	s.KeyID = id
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPublicKeyIsReadFromAFileAndFromItsBase64(t *testing.T) {
	pub, text, _, err := GenerateKey("the lab's")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "untrusted comment: the lab's: minisign public key "+pub.KeyID()+"\n") {
		t.Errorf("public key file %q", text)
	}
	for _, in := range []string{string(text), strings.ReplaceAll(string(text), "\n", "\r\n"), pub.String(), pub.String() + "\n"} {
		got, err := ParsePublicKey(in)
		if err != nil || got.String() != pub.String() {
			t.Errorf("ParsePublicKey(%q) = %s, %v, want %s", in, got, err, pub)
		}
	}
	if len(pub.String()) != 56 {
		t.Errorf("String has %d characters, want 56", len(pub.String()))
	}
}

func TestWhatIsNoPublicKeyIsRefused(t *testing.T) {
	pub, _, secret, err := GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(pub.String())
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 'X'
	for name, in := range map[string]string{
		"empty":             "",
		"comment only":      "untrusted comment: minisign public key 1\n",
		"a secret key":      string(secret),
		"cut short":         pub.String()[:55],
		"no base64":         strings.Repeat("*", 56),
		"another algorithm": base64.StdEncoding.EncodeToString(raw),
		"two keys":          pub.String() + "\n" + pub.String(),
	} {
		if got, err := ParsePublicKey(in); err == nil {
			t.Errorf("%s: ParsePublicKey = %s, want an error", name, got)
		}
	}
}

func TestErrorsOfSecretKeysDoNotShowThem(t *testing.T) {
	_, _, secret, err := GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(secret), "\n")[1]
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), raw...)
	damaged[70] ^= 1 // of the seed: the public half is another one's
	kdf := append([]byte(nil), raw...)
	binary.LittleEndian.PutUint16(kdf[2:], 77)
	for name, in := range map[string]string{
		"damaged":     base64.StdEncoding.EncodeToString(damaged),
		"another KDF": base64.StdEncoding.EncodeToString(kdf),
		"cut short":   line[:len(line)-4],
		"empty":       "",
		"no base64":   "*" + line[1:],
	} {
		_, err := ParsePrivateKey([]byte("untrusted comment: x\n"+in+"\n"), nil)
		if err == nil {
			t.Errorf("%s: ParsePrivateKey = nil, want an error", name)
		} else if strings.Contains(err.Error(), line[100:140]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestGenerateKeyWantsACommentOfOneLine(t *testing.T) {
	for _, comment := range []string{"a\nRWQ", "a\r", strings.Repeat("x", 901)} {
		if _, _, _, err := GenerateKey(comment); err == nil {
			t.Errorf("GenerateKey(%.20q) = nil, want an error", comment)
		}
	}
}

func TestEncryptedKeyOfMinisignIsDecrypted(t *testing.T) {
	text := testdata(t, "encrypted.key")
	asked := 0
	k, err := ParsePrivateKey(text, func() ([]byte, error) { asked++; return []byte("keelson"), nil })
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParsePublicKey(string(testdata(t, "encrypted.pub")))
	if err != nil {
		t.Fatal(err)
	}
	if k.Public().String() != want.String() || asked != 1 {
		t.Errorf("public key %s, want %s; asked %d times, want once", k.Public(), want, asked)
	}
	if _, err := ParsePrivateKey(text, func() ([]byte, error) { return []byte("keelsom"), nil }); err == nil || !strings.Contains(err.Error(), "wrong password") {
		t.Errorf("ParsePrivateKey with another password = %v, want an error that says so", err)
	}
}

func TestEncryptedKeyWithoutAPasswordIsAnError(t *testing.T) {
	text := testdata(t, "encrypted.key")
	if _, err := ParsePrivateKey(text, nil); err == nil {
		t.Error("ParsePrivateKey without a way to ask = nil, want an error")
	}
	gone := errors.New("terminal is gone")
	if _, err := ParsePrivateKey(text, func() ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("ParsePrivateKey = %v, want the error of asking", err)
	}
}
