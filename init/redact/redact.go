// Package redact takes secrets out of texts that leave the node: logs, command lines, configurations, the support archive.
//
// It knows two ways. The node's own secrets are known by value, whatever text they are in: every value, and every line of a key. And
// what looks like a secret goes as well: private keys in PEM, tokens of Kubernetes (JWT) and of k3s (K10…), credentials in URLs, in
// headers and behind names such as "password". The first way misses nothing that is on the node; the second is for what comes from elsewhere.
package redact

import (
	"regexp"
	"slices"
	"strings"
)

// Mark stands for what was taken out.
const Mark = "[redacted]"

// shortest is the length, in bytes, below which a value is no secret that could be looked for: "yes" is in every text.
const shortest = 6

// Redactor takes secrets out. It may be used by several goroutines; nil knows no values.
type Redactor struct{ values *strings.Replacer }

// New returns a redactor for secrets, each a value or a text of several lines, all of which are secret but the BEGIN and END lines of PEM.
func New(secrets ...string) *Redactor {
	var values []string
	for _, s := range secrets {
		values = append(values, Lines(s)...)
	}
	// The longest first: one value may be a part of another.
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, v := range slices.Compact(values) {
		pairs = append(pairs, v, Mark)
	}
	if len(pairs) == 0 {
		return &Redactor{}
	}
	return &Redactor{values: strings.NewReplacer(pairs...)}
}

// Lines returns the parts of a secret that are looked for: its lines without surrounding white space, but not the frame of PEM.
func Lines(secret string) []string {
	var values []string
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if len(line) < shortest || strings.HasPrefix(line, "-----") {
			continue
		}
		values = append(values, line)
	}
	return values
}

// pattern is something that looks like a secret; only texts that hold one of the hints are searched for it.
type pattern struct {
	hints []string // in lower case
	find  *regexp.Regexp
	with  string
}

// word is a value behind a name: up to white space, a quote or what ends it in JSON, YAML and URLs.
const word = `[^\s"'` + "`" + `,;&}\]]+`

var patterns = []pattern{
	// RFC 7519: a header that begins with {", its base64 with eyJ.
	{[]string{"eyj"}, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?`), Mark},
	{[]string{"k10"}, regexp.MustCompile(`K10[0-9a-f]{64}::[a-z]+:(?:\[redacted\]|` + word + `)`), Mark},
	{[]string{"://"}, regexp.MustCompile(`(://[^\s/@:"']*:)[^\s/@"']+@`), "${1}" + Mark + "@"},
	{[]string{"bearer ", "basic "}, regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_.=~-]{8,}`), "${1} " + Mark},
	{[]string{"key-data", "passw", "token", "secret", "auth"},
		regexp.MustCompile(`(?i)((?:client-key-data|passwords?|passwd|(?:[a-z]+[-_]?)?token|(?:client|access)[-_]?secret|secret[-_]?(?:access[-_]?)?key|identity[-_]?token|auth)["']?\s*[=:]\s*["']?)` + word),
		"${1}" + Mark},
	// base64 of "-----BEGIN ": PEM inside YAML, as in a kubeconfig. Certificates go with it.
	{[]string{"ls0tls1crud"}, regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=]+`), Mark},
}

// Line returns a text without secrets. Private keys in PEM are found line by line by a Writer, here only when they are whole.
func (r *Redactor) Line(s string) string {
	if r != nil && r.values != nil {
		s = r.values.Replace(s)
	}
	lower := ""
	for _, p := range patterns {
		if lower == "" {
			lower = strings.ToLower(s)
		}
		if slices.ContainsFunc(p.hints, func(h string) bool { return strings.Contains(lower, h) }) {
			s = p.find.ReplaceAllString(s, p.with)
		}
	}
	if strings.Contains(s, "PRIVATE KEY-----") {
		s = privateKey.ReplaceAllString(s, Mark)
	}
	return s
}

var privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)
