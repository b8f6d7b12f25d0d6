// Package token formats and parses the join tokens of k3s:
//
//	K10<sha256 of the server CA's PEM, 64 hex digits>::<user>:<password>
//
// The hash lets a joining node check, before it sends the password, that the server it
// reached is the one the token was made for. A bare password is a token too, without
// that check.
//
// Standard library only: the operator's CLI imports this package.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The users of a token: who may join as what.
const (
	UserServer = "server" // servers and agents
	UserAgent  = "node"   // agents only; k3s's word
)

const prefix = "K10"

var (
	// ErrMalformed means that a text is not a token. The text is not repeated: it is a secret.
	ErrMalformed = errors.New("malformed token: want K10<64 hex digits>::<user>:<password>, or the password alone")
	// ErrWrongCA means that the CA is not the one that the token was made for.
	ErrWrongCA = errors.New("the token was made for another cluster's CA")
)

// Token is a parsed token.
type Token struct {
	User     string // UserServer, UserAgent; empty for a bare password
	Password string
	CAHash   []byte // 32 bytes; nil for a bare password
}

// Format makes the token of a cluster, caPEM being the server CA's certificate file, byte by byte.
func Format(caPEM []byte, user, password string) string {
	sum := sha256.Sum256(caPEM)
	return prefix + hex.EncodeToString(sum[:]) + "::" + user + ":" + password
}

// Parse reads a token or a bare password. White space around it is ignored.
// Every error is ErrMalformed.
func Parse(s string) (Token, error) {
	s = strings.TrimSpace(s)
	rest, full := strings.CutPrefix(s, prefix)
	if !full {
		if s == "" || strings.ContainsAny(s, ": \t\r\n") {
			return Token{}, ErrMalformed
		}
		return Token{Password: s}, nil
	}
	hash, credentials, ok := strings.Cut(rest, "::")
	if !ok {
		return Token{}, ErrMalformed
	}
	sum, err := hex.DecodeString(hash)
	if err != nil || len(sum) != sha256.Size {
		return Token{}, ErrMalformed
	}
	user, password, ok := strings.Cut(credentials, ":")
	if !ok || user == "" || password == "" || strings.ContainsAny(password, " \t\r\n") {
		return Token{}, ErrMalformed
	}
	return Token{User: user, Password: password, CAHash: sum}, nil
}

// CheckCA compares the token's hash with the CA certificate of a server. A bare password
// matches every CA. The error is ErrWrongCA.
func (t Token) CheckCA(caPEM []byte) error {
	if t.CAHash == nil {
		return nil
	}
	sum := sha256.Sum256(caPEM)
	if subtle.ConstantTimeCompare(sum[:], t.CAHash) != 1 {
		return fmt.Errorf("%w: token has %x, server has %x", ErrWrongCA, t.CAHash, sum)
	}
	return nil
}

// NewPassword makes a password of 128 random bits: 32 hex digits, as k3s does.
func NewPassword() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: the runtime ends the program instead
	return hex.EncodeToString(b[:])
}
