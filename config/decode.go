package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSize bounds a configuration file, in bytes. A file with every CA inline is 10 KiB.
const maxSize = 1 << 20

// decoder walks a YAML document and collects mistakes instead of stopping at the first.
// Not safe for concurrent use.
type decoder struct {
	file   string // base name, for the errors
	secret bool   // values of this file never appear in an error
	errs   []*Error
	// keys and values remember where each path was written, for checks that can only be
	// made when everything has been read.
	keys, values map[string]*yaml.Node
}

func newDecoder(file string, secret bool) *decoder {
	return &decoder{file: file, secret: secret, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
}

// fail records a mistake at a node; nil means the whole file.
func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	e := &Error{File: d.file, Path: path, Msg: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	d.errs = append(d.errs, e)
}

// failAt records a mistake at the value of path, or where its nearest written parent is.
func (d *decoder) failAt(path, format string, args ...any) {
	at := path
	for {
		if n := d.values[at]; n != nil {
			d.fail(n, path, format, args...)
			return
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			d.fail(nil, path, format, args...)
			return
		}
		at = at[:i]
	}
}

// has reports whether path was written in the file.
func (d *decoder) has(path string) bool { return d.values[path] != nil }

// yamlLine finds the line number in the YAML library's error texts.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// document parses data and returns its one mapping, nil when the file is empty or
// unreadable (then a mistake was recorded).
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > maxSize {
		d.fail(nil, "", "the file has %d bytes, at most %d are read; is it the right file?", len(data), maxSize)
		return nil
	}
	if !utf8.Valid(data) {
		line := 1 + bytes.Count(data[:invalidAt(data)], []byte("\n"))
		d.fail(&yaml.Node{Line: line, Column: 1}, "", "this line is not UTF-8 text; save the file as UTF-8")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		d.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.fail(&second, "", "a second YAML document starts here; one file holds one configuration: remove the \"---\"")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	n := doc.Content[0]
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "", "found %s, expected lines of the form \"key: value\"", d.found(n))
		return nil
	}
	return n
}

// syntax records an error of the YAML parser.
func (d *decoder) syntax(err error) {
	line, text := 1, err.Error()
	if m := yamlLine.FindStringSubmatch(strings.SplitN(text, "\n", 2)[0]); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		text = m[2]
	}
	switch {
	case d.secret:
		// The library's texts may quote what it read.
		text = "syntax error"
	case strings.HasPrefix(text, "unknown anchor"):
		// It would quote the value, which may be a password.
		text = `a value that begins with "*" must be in quotes`
	}
	d.fail(&yaml.Node{Line: line, Column: 1}, "", "not valid YAML: %s; check the indentation, colons and quotes near this line", text)
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// found describes a node for "found X, expected Y".
func (d *decoder) found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "a YAML alias"
	}
	if isNull(n) {
		return "nothing"
	}
	if d.secret {
		return "a value that is not shown"
	}
	return quote(n.Value)
}

// quote shows at most 60 characters of a value, on one line.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return strconv.Quote(s)
}

// fields are the keys a mapping may have, each with what reads its value.
type fields map[string]func(path string, v *yaml.Node)

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// mapping reads a mapping with the given keys. unknown, when not nil, is asked first about
// a key that is not among them and reports whether it dealt with it.
func (d *decoder) mapping(path string, n *yaml.Node, known fields, unknown func(path string, key, v *yaml.Node) bool) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "found %s, expected a mapping with the keys %s", d.found(n), list(slices.Sorted(maps.Keys(known))))
		return
	}
	d.entries(path, n, func(p string, k, v *yaml.Node) {
		read := known[k.Value]
		switch {
		case read != nil && v.Kind == yaml.AliasNode:
			d.alias(v, p)
		case read != nil:
			read(p, v)
		case k.Value == "<<":
			d.fail(k, p, "YAML merge keys are not supported; write the keys out")
		case unknown == nil || !unknown(p, k, v):
			d.unknownKey(k, p, slices.Collect(maps.Keys(known)))
		}
	})
}

// entries calls each for the entries of a mapping whose keys are words, each key once, and
// records the mistakes of the others.
func (d *decoder) entries(path string, n *yaml.Node, each func(path string, k, v *yaml.Node)) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			d.fail(k, path, "found %s as a key, expected a word", d.found(k))
			continue
		}
		p := join(path, d.keyName(k))
		if first := seen[k.Value]; first != nil {
			d.fail(k, p, "duplicate key; it is already set in line %d: remove one", first.Line)
			continue
		}
		seen[k.Value] = k
		d.keys[p], d.values[p] = k, v
		each(p, k, v)
	}
}

// alias refuses a YAML alias.
func (d *decoder) alias(v *yaml.Node, path string) {
	name := "*" + v.Value
	if d.secret {
		name = "its name is not shown"
	}
	d.fail(v, path, "found a YAML alias (%s); aliases are not supported: write the value out", name)
}

// open reads a mapping whose keys are the user's. what names them in the errors.
func (d *decoder) open(path string, n *yaml.Node, what string, each func(path string, k, v *yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "found %s, expected a mapping of %s", d.found(n), what)
		return
	}
	d.entries(path, n, func(p string, k, v *yaml.Node) {
		if v.Kind == yaml.AliasNode {
			d.alias(v, p)
			return
		}
		each(p, k, v)
	})
}

func (d *decoder) unknownKey(k *yaml.Node, path string, known []string) {
	if near := nearest(k.Value, known); near != "" {
		d.fail(k, path, "unknown key; did you mean %q?", near)
		return
	}
	slices.Sort(known)
	d.fail(k, path, "unknown key; the keys here are %s", list(known))
}

// plainKey is what a key of ours looks like; anything else in a secrets file may be a
// piece of a key or a token that lost its indentation.
var plainKey = regexp.MustCompile(`^[a-z][a-z_-]{0,30}$`)

func (d *decoder) keyName(k *yaml.Node) string {
	if (d.secret && !plainKey.MatchString(k.Value)) || strings.Contains(k.Value, "@") { // of a URL with a password
		return "(key not shown)"
	}
	if plainKey.MatchString(k.Value) || (len(k.Value) > 0 && len(k.Value) <= 60 && !strings.ContainsAny(k.Value, " \t\r\n.[]\"'\\") && strconv.Quote(k.Value) == `"`+k.Value+`"`) {
		return k.Value
	}
	return quote(k.Value)
}

// list prints words as `a, b and c`.
func list(words []string) string {
	switch len(words) {
	case 0:
		return "(none)"
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// sequence calls each for every item of a list.
func (d *decoder) sequence(path string, n *yaml.Node, what string, each func(path string, v *yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, path, "found %s, expected a list of %s; write each item in its own line after \"- \"", d.found(n), what)
		return
	}
	for i, v := range n.Content {
		p := path + "[" + strconv.Itoa(i) + "]"
		d.values[p] = v
		if v.Kind == yaml.AliasNode {
			d.alias(v, p)
			continue
		}
		each(p, v)
	}
}

// text reads a scalar as it was written: an unquoted number is text too, so that
// "hostname: 42" and MAC addresses need no quotes.
func (d *decoder) text(path string, n *yaml.Node, expected string) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.fail(n, path, "found %s, expected %s", d.found(n), expected)
		return "", false
	}
	if n.Tag == "!!bool" {
		d.fail(n, path, "found %s, a true-or-false value, expected %s; if you mean the word, put it in quotes", d.found(n), expected)
		return "", false
	}
	if n.Tag == "!!binary" {
		d.fail(n, path, "found binary data, expected %s", expected)
		return "", false
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") { // its word is lost from the value
		d.fail(n, path, "found a value that begins with \"!\", which is YAML's mark for a type, expected %s; put the value in quotes", expected)
		return "", false
	}
	if n.Anchor != "" { // and so is this one
		d.fail(n, path, "found a value that begins with \"&\", which is YAML's mark for a name, expected %s; put the value in quotes", expected)
		return "", false
	}
	if n.Value == "" {
		d.fail(n, path, "found an empty text, expected %s", expected)
		return "", false
	}
	return n.Value, true
}

// textWhere reads a scalar that must pass check, whose text says what was expected.
func (d *decoder) textWhere(path string, n *yaml.Node, expected string, ok func(string) bool) (string, bool) {
	s, got := d.text(path, n, expected)
	if !got {
		return "", false
	}
	if !ok(s) {
		d.fail(n, path, "found %s, expected %s", d.found(n), expected)
		return "", false
	}
	return s, true
}

// oneOf reads a scalar out of a fixed set.
func (d *decoder) oneOf(path string, n *yaml.Node, choices ...string) (string, bool) {
	expected := "one of " + strings.Join(choices, ", ")
	s, ok := d.text(path, n, expected)
	if !ok {
		return "", false
	}
	if slices.Contains(choices, s) {
		return s, true
	}
	if near := nearest(s, choices); near != "" {
		d.fail(n, path, "found %s, expected %s; did you mean %q?", d.found(n), expected, near)
	} else {
		d.fail(n, path, "found %s, expected %s", d.found(n), expected)
	}
	return "", false
}

func (d *decoder) boolean(path string, n *yaml.Node, into *bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		*into = strings.EqualFold(n.Value, "true")
		return
	}
	hint := ""
	switch strings.ToLower(n.Value) {
	case "yes", "on", "y", "1":
		hint = "; write true"
	case "no", "off", "n", "0":
		hint = "; write false"
	}
	d.fail(n, path, "found %s, expected true or false%s", d.found(n), hint)
}

// integer reads a whole number in [low, high].
func (d *decoder) integer(path string, n *yaml.Node, low, high int, into *int) {
	if n.Kind == yaml.ScalarNode {
		if v, err := strconv.Atoi(n.Value); err == nil && v >= low && v <= high {
			*into = v
			return
		}
	}
	d.fail(n, path, "found %s, expected a whole number from %d to %d", d.found(n), low, high)
}

func (d *decoder) addr(path string, n *yaml.Node) (netip.Addr, bool) {
	const expected = "an IP address such as 192.168.1.1"
	s, ok := d.text(path, n, expected)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		hint := ""
		if p, err := netip.ParsePrefix(s); err == nil {
			hint = fmt.Sprintf("; leave the /%d out", p.Bits())
		}
		d.fail(n, path, "found %s, expected %s%s", d.found(n), expected, hint)
		return netip.Addr{}, false
	}
	return a, true
}

// prefix reads an address with its length. host: the address of a link, whose host bits
// may be set; otherwise it is a network and they must be zero.
func (d *decoder) prefix(path string, n *yaml.Node, host bool) (netip.Prefix, bool) {
	expected := "a network such as 10.20.0.0/16"
	if host {
		expected = "an address with its prefix length, such as 192.168.1.5/24"
	}
	s, ok := d.text(path, n, expected)
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		hint := ""
		if a, err := netip.ParseAddr(s); err == nil {
			hint = fmt.Sprintf("; did you mean \"%s/%d\"?", s, map[bool]int{true: 24, false: 64}[a.Is4()])
		}
		d.fail(n, path, "found %s, expected %s%s", d.found(n), expected, hint)
		return netip.Prefix{}, false
	}
	if !host && p != p.Masked() {
		d.fail(n, path, "found %s, whose host part is not zero, expected %s; did you mean \"%s\"?", d.found(n), expected, p.Masked())
		return netip.Prefix{}, false
	}
	return p, true
}

func (d *decoder) addrs(path string, n *yaml.Node, into *[]netip.Addr) {
	d.sequence(path, n, "IP addresses", func(p string, v *yaml.Node) {
		if a, ok := d.addr(p, v); ok {
			*into = append(*into, a)
		}
	})
}
