package token

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReadsWhatFormatWrites(t *testing.T) {
	ca := []byte("-----BEGIN CERTIFICATE-----\n")
	got, err := Parse(" " + Format(ca, UserServer, "s3cret:with:colons") + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.User != UserServer || got.Password != "s3cret:with:colons" {
		t.Errorf("Parse(Format()) = %q %q", got.User, got.Password)
	}
	if err := got.CheckCA(ca); err != nil {
		t.Errorf("CheckCA(own) = %v, want nil", err)
	}
	if err := got.CheckCA([]byte("x")); !errors.Is(err, ErrWrongCA) {
		t.Errorf("CheckCA(other) = %v, want %v", err, ErrWrongCA)
	}
}

func TestParseTable(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"bare password", "0123456789abcdef", nil},
		{"full", "K10" + hash + "::server:pw", nil},
		{"empty", "", ErrMalformed},
		{"password with space", "a b", ErrMalformed},
		{"short hash", "K10abcd::server:pw", ErrMalformed},
		{"no user", "K10" + hash + "::pw", ErrMalformed},
		{"empty password", "K10" + hash + "::server:", ErrMalformed},
		{"one colon", "K10" + hash + ":server:pw", ErrMalformed},
	} {
		_, err := Parse(tc.in)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: Parse() = %v, want %v", tc.name, err, tc.want)
		}
		if err != nil && tc.in != "" && strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: the error repeats the token", tc.name)
		}
	}
}

func TestNewPasswordIsLongAndNew(t *testing.T) {
	a, b := NewPassword(), NewPassword()
	if len(a) != 32 || a == b {
		t.Errorf("NewPassword() = %q, %q", a, b)
	}
	if _, err := Parse(a); err != nil {
		t.Errorf("Parse(NewPassword()) = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("K10" + strings.Repeat("00", 32) + "::node:pw")
	f.Add("pw")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Parse(s)
		if err == nil && tok.Password == "" {
			t.Errorf("Parse(%q) gave no password", s)
		}
	})
}
