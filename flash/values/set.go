package values

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Set gives the value at a path, in YAML ("true", "[a, b]", "{name: eth0}"), and makes what
// is missing on the way. The file must be valid YAML.
func Set(data []byte, p Path, value string) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
		return nil, fmt.Errorf("the value of %s is not valid YAML: put it in quotes", p)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	if len(doc.Content) > 0 {
		n = doc.Content[0]
	}
	return set(data, p, n)
}

// SetString is Set for a text, whatever it looks like in YAML.
func SetString(data []byte, p Path, value string) ([]byte, error) {
	var n yaml.Node
	n.SetString(value)
	return set(data, p, &n)
}

func set(data []byte, p Path, value *yaml.Node) ([]byte, error) {
	doc, err := parse(data)
	if err != nil {
		return nil, err
	}
	at, err := walk(doc.Content[0], p)
	if err != nil {
		return nil, err
	}
	flow(value)
	top := at.rest
	var missing *yaml.Node // the value of the first missing step
	if len(top) > 0 {
		if missing, err = wrap(top[1:], value); err != nil {
			return nil, err
		}
	}
	// The text is made first: the tree is changed then, and knows no lines any more.
	tries := edits(data, at, value, missing)
	if len(top) == 0 {
		value.LineComment = at.value.LineComment
		at.parent.Content[at.at] = value
	} else if err := add(at.parent, top[0], missing); err != nil {
		return nil, err
	}
	return choose(doc, tries)
}

// add puts a value into a mapping or list that has none for the step yet.
func add(parent *yaml.Node, s step, value *yaml.Node) error {
	kind, tag, content := yaml.SequenceNode, "!!seq", []*yaml.Node{value}
	if s.key != "" {
		kind, tag, content = yaml.MappingNode, "!!map", []*yaml.Node{keyNode(s.key), value}
	}
	if isNull(parent) {
		if s.index != 0 {
			return fmt.Errorf("there is no list yet to have an element [%d]: begin with [0]", s.index)
		}
		*parent = yaml.Node{Kind: kind, Tag: tag, HeadComment: parent.HeadComment, LineComment: parent.LineComment, FootComment: parent.FootComment}
	}
	parent.Content = append(parent.Content, content...)
	return nil
}

// Unset removes the value at a path. One that is not there is an error.
func Unset(data []byte, p Path) ([]byte, error) {
	doc, err := parse(data)
	if err != nil {
		return nil, err
	}
	at, err := walk(doc.Content[0], p)
	if err != nil {
		return nil, err
	}
	if len(at.rest) > 0 {
		return nil, fmt.Errorf("%s is not in the file", p)
	}
	var tries []string
	from := at.at
	if at.key != nil {
		tries = removals(data, at)
		from--
	}
	at.parent.Content = slices.Delete(at.parent.Content, from, at.at+1)
	return choose(doc, tries)
}

// choose returns the first text that means what the document means, else the document.
func choose(doc *yaml.Node, tries []string) ([]byte, error) {
	want, err := encode(doc)
	if err != nil {
		return nil, err
	}
	for _, t := range tries {
		if same([]byte(t), want) {
			return []byte(t), nil
		}
	}
	return want, nil
}

// edits returns the file's text with the change made in its lines, in several ways; not
// all of them need be right.
func edits(data []byte, at place, value, missing *yaml.Node) []string {
	lines := strings.SplitAfter(string(data), "\n")
	if len(at.rest) > 0 {
		return insertions(lines, at, missing)
	}
	text, err := line(value)
	if err != nil || at.value.Line < 1 || at.value.Line > len(lines) {
		return nil
	}
	var tries []string
	if at.key == nil || at.key.Line == at.value.Line {
		n := at.value.Line - 1
		l := lines[n]
		begin := byteOffset(l, at.value.Column-1)
		if isNull(at.value) && at.key != nil && at.value.Value == "" {
			// Nothing stands behind the colon.
			if colon := strings.IndexByte(l, ':'); colon >= 0 {
				tries = append(tries, replaceLine(lines, n, l[:colon+1]+" "+text+l[colon+1:]))
			}
		}
		for _, inner := range []bool{false, true} {
			tries = append(tries, replaceLine(lines, n, l[:begin]+text+l[endOfValue(l, begin, inner):]))
		}
	}
	if at.key != nil && at.key.Line <= len(lines) {
		// A value of several lines.
		first, last := at.key.Line-1, lastLine(at.value)-1
		if last >= first && last < len(lines) {
			l := lines[first]
			key := l[:byteOffset(l, at.key.Column-1)] + keyText(at.key)
			tries = append(tries, strings.Join(lines[:first], "")+key+": "+text+"\n"+strings.Join(lines[last+1:], ""))
		}
	}
	return tries
}

// insertions adds a line for a key that is missing.
func insertions(lines []string, at place, missing *yaml.Node) []string {
	if at.rest[0].key == "" {
		return nil
	}
	pair := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{keyNode(at.rest[0].key), missing}}
	text, err := line(pair)
	if err != nil {
		return nil
	}
	if at.holder == nil { // at the top: behind everything
		end := strings.Join(lines, "")
		if end != "" && !strings.HasSuffix(end, "\n") {
			end += "\n"
		}
		return []string{end + text + "\n"}
	}
	n := at.holder.Line - 1
	if n < 0 || n >= len(lines) {
		return nil
	}
	indent := at.holder.Column - 1 + 2
	if len(at.parent.Content) > 0 {
		indent = at.parent.Content[0].Column - 1
	}
	if !strings.HasSuffix(lines[n], "\n") {
		lines = slices.Clone(lines)
		lines[n] += "\n"
	}
	return []string{strings.Join(lines[:n+1], "") + strings.Repeat(" ", indent) + text + "\n" + strings.Join(lines[n+1:], "")}
}

// removals takes the lines of a key and its value away.
func removals(data []byte, at place) []string {
	lines := strings.SplitAfter(string(data), "\n")
	first, last := at.key.Line-1, lastLine(at.value)-1
	if first < 0 || last < first || last >= len(lines) {
		return nil
	}
	return []string{strings.Join(lines[:first], "") + strings.Join(lines[last+1:], "")}
}

// lastLine returns the last line, from 1 on, in which a part of a value begins.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// keyText is a key as it is written.
func keyText(key *yaml.Node) string {
	if s, err := line(keyNode(key.Value)); err == nil {
		return s
	}
	return key.Value
}

func replaceLine(lines []string, n int, l string) string {
	return strings.Join(lines[:n], "") + l + strings.Join(lines[n+1:], "")
}

// endOfValue returns where a value that begins at a byte of a line ends: at the spaces
// before a comment or at the end of the line; inner: at the comma or bracket behind it, as
// it stands in [a, b] or {a: b}.
func endOfValue(l string, begin int, inner bool) int {
	end := len(strings.TrimRight(l, "\r\n"))
	if begin > end {
		return begin
	}
	quote, depth := byte(0), 0
	for i := begin; i < end; i++ {
		switch c := l[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			if i == begin || strings.IndexByte("[{, :", l[i-1]) >= 0 {
				quote = c
			}
		case inner && (c == '[' || c == '{'):
			depth++
		case inner && depth == 0 && (c == ',' || c == ']' || c == '}'):
			return begin + len(strings.TrimRight(l[begin:i], " \t"))
		case inner && (c == ']' || c == '}'):
			depth--
		case c == '#' && i > begin && (l[i-1] == ' ' || l[i-1] == '\t'):
			return begin + len(strings.TrimRight(l[begin:i], " \t"))
		}
	}
	return begin + len(strings.TrimRight(l[begin:end], " \t"))
}

// byteOffset returns where the n-th character of s begins: YAML counts characters.
func byteOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}
