package api

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A configuration is shown with a placeholder in the place of each secret, and may be sent back with it: the node
// puts its own secret there again. A placeholder is derived from the secret and from a key that does not leave the node, so it says nothing of it.
var placeholder = regexp.MustCompile(`SECRET-[0-9a-f]{16}`)

func placeholderFor(key []byte, secret string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(secret))
	return "SECRET-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// errUnhidden says that a secret is written in a way that hide does not understand.
var errUnhidden = errors.New("a secret in the configuration is written in a way that it cannot be hidden, so the configuration is not shown; " +
	"write secrets plainly in one line, or as a block (\"|\" after the key)")

// hide returns data with placeholders, and what they stand for.
func hide(data, key []byte) (hidden []byte, secrets map[string]string, err error) {
	secrets = map[string]string{}
	lines := bytes.SplitAfter(data, []byte("\n"))
	replace := func(line, at, length int) {
		text := lines[line]
		secret := string(text[at : at+length])
		p := placeholderFor(key, secret)
		secrets[p] = secret
		lines[line] = append(append(append([]byte(nil), text[:at]...), p...), text[at+length:]...)
	}
	nodes := secretNodes(data)
	// From the end, so that the columns of what is before stay right.
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if placeholder.MatchString(n.Value) || n.Line < 1 || n.Line > len(lines) {
			return nil, nil, errUnhidden
		}
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			for l := n.Line; l < len(lines); l++ {
				text := strings.TrimSpace(string(lines[l]))
				if text == "" || !strings.Contains(n.Value, text) {
					break
				}
				if !strings.HasPrefix(text, "-----") {
					replace(l, bytes.Index(lines[l], []byte(text)), len(text))
				}
			}
			continue
		}
		line := string(lines[n.Line-1])
		at := byteColumn(line, n.Column-1)
		if anchor := anchorAt.FindString(line[at:]); anchor != "" {
			at += len(anchor)
		}
		if at < len(line) && (line[at] == '"' || line[at] == '\'') {
			at++
		}
		if !strings.HasPrefix(line[at:], n.Value) {
			return nil, nil, errUnhidden
		}
		replace(n.Line-1, at, len(n.Value))
	}
	hidden = bytes.Join(lines, nil)
	// Whatever way it was written: nothing secret may be left.
	left := secretNodes(hidden)
	for _, n := range left {
		if !isHidden(n.Value) {
			return nil, nil, errUnhidden
		}
	}
	if len(left) != len(nodes) {
		return nil, nil, errUnhidden
	}
	return hidden, secrets, nil
}

// isHidden says whether a secret's value has nothing left but placeholders and the frame of PEM.
func isHidden(value string) bool {
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "-----") {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if placeholder.FindString(word) != word {
				return false
			}
		}
	}
	return true
}

// anchorAt is an anchor or a tag before a scalar.
var anchorAt = regexp.MustCompile(`^(?:[&!]\S*\s+)+`)

// byteColumn returns where the n-th character of s begins.
func byteColumn(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// reveal puts secrets in the place of their placeholders. unknown is a placeholder that stands for none, or empty.
func reveal(data []byte, secrets map[string]string) (out []byte, unknown string) {
	out = placeholder.ReplaceAllFunc(data, func(p []byte) []byte {
		secret, ok := secrets[string(p)]
		if !ok {
			unknown = string(p)
		}
		return []byte(secret)
	})
	return out, unknown
}
