package redact

import (
	"bytes"
	"strings"
	"testing"
)

func TestLooksOfSecretsAreTakenOutAndOrdinaryTextStays(t *testing.T) {
	r := New("the-known-value", "-----BEGIN X-----\nbGluZSBvbmU=\nbGluZSB0d28=\n-----END X-----\n", "short")
	for in, want := range map[string]string{
		"x the-known-value y":                                "x [redacted] y",
		"bGluZSBvbmU= and bGluZSB0d28=":                      "[redacted] and [redacted]",
		"short is no value to look for":                      "short is no value to look for",
		"-----BEGIN X----- is no secret":                     "-----BEGIN X----- is no secret",
		"a token eyJhbGciOiJI.eyJzdWIi.c2ln!":                "a token [redacted]!",
		"K10" + strings.Repeat("0", 64) + "::node:pass next": "[redacted] next",
		"postgres://u:p4ss@host/db":                          "postgres://u:[redacted]@host/db",
		"https://host:6443/path":                             "https://host:6443/path",
		"Authorization: Bearer abcdefgh.ijk":                 "Authorization: Bearer [redacted]",
		"password=hunter2, next":                             "password=[redacted], next",
		`{"identityToken": "abc", "user": "bob"}`:            `{"identityToken": "[redacted]", "user": "bob"}`,
		"client-key-data: LS0tLS1CRUdJTiBFQw==":              "client-key-data: [redacted]",
		"the token has expired":                              "the token has expired",
		`err="secret not found" secret="kube-system/x"`:      `err="secret not found" secret="kube-system/x"`,
		"authentication failed for node-1":                   "authentication failed for node-1",
	} {
		if got := r.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrivateKeysGoHoweverTheTextIsCut(t *testing.T) {
	key := "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIabcdefgh\nijklmnopqrstuvw=\n-----END EC PRIVATE KEY-----\n"
	text := "before\nI1125 log: " + key + "between\n" + strings.ReplaceAll(key, "\n", `\n`) + "\nafter\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\nlast without end"
	for size := 1; size < len(text); size += 7 {
		var out bytes.Buffer
		w := (*Redactor)(nil).Writer(&out)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if m, err := w.Write(rest[:n]); err != nil || m != n {
				t.Fatalf("Write = %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if strings.Contains(got, "abcdefgh") || strings.Contains(got, "ijklmnop") {
			t.Fatalf("in pieces of %d: the key is left:\n%s", size, got)
		}
		for _, keep := range []string{"before\n", "I1125 log: ", "between\n", "after\n", "MIIB\n", "last without end"} {
			if !strings.Contains(got, keep) {
				t.Fatalf("in pieces of %d: %q is lost:\n%s", size, keep, got)
			}
		}
	}
}

func TestAKeyWithoutAnEndDoesNotSwallowTheRest(t *testing.T) {
	var out bytes.Buffer
	w := New().Writer(&out)
	w.Write([]byte("-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("x\n", keyLines) + "rest\n"))
	w.Close()
	if got := out.String(); !strings.Contains(got, "rest\n") || strings.Contains(got, "x\n") {
		t.Errorf("got %q, want the key's lines gone and the rest there", got)
	}
}

func FuzzWriterLosesNoOrdinaryLineAndLeavesNoValue(f *testing.F) {
	f.Add("a\nvalue-of-it\nb", 3)
	f.Add("-----BEGIN PRIVATE KEY-----\nvalue-of-it\n-----END PRIVATE KEY-----", 100)
	r := New("value-of-it")
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, min(size, 1000))
		var out bytes.Buffer
		w := r.Writer(&out)
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			w.Write(rest[:n])
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		// A line that is longer than is kept may be cut within a value.
		if len(text) < lineMax && strings.Contains(out.String(), "value-of-it") {
			t.Errorf("%q leaves the value: %q", text, out.String())
		}
	})
}
