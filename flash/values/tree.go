package values

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// parse reads a file of one document that is a mapping, or empty.
func parse(data []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 || len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New(`the file is not of the form "key: value"`)
	}
	return &doc, nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// same reports whether two files mean the same.
func same(a, b []byte) bool {
	var x, y any
	return yaml.Unmarshal(a, &x) == nil && yaml.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// encode writes a document anew.
func encode(doc *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// place is where a path leads: to a node that is there, or to a gap in the last one that is.
type place struct {
	parent *yaml.Node // the mapping or list that has, or lacks, the step
	holder *yaml.Node // the key whose value parent is; nil at the top and in lists
	key    *yaml.Node // of the value, in a mapping; nil when it is missing
	value  *yaml.Node // nil when it is missing
	at     int        // index of value in parent.Content
	rest   Path       // from the missing step on; empty when the value is there
}

// walk follows a path as far as it goes.
func walk(root *yaml.Node, p Path) (place, error) {
	at := place{parent: root}
	for i, s := range p {
		n := at.parent
		next := place{parent: n, holder: at.holder, rest: p[i:]} // unless the step is there
		switch {
		case isNull(n):
		case n.Kind == yaml.AliasNode:
			return at, fmt.Errorf("%s is a YAML alias; write it out first", p[:i])
		case s.key != "" && n.Kind != yaml.MappingNode:
			return at, fmt.Errorf("%s has no keys: it is not a mapping", p[:i])
		case s.key == "" && n.Kind != yaml.SequenceNode:
			return at, fmt.Errorf("%s has no [%d]: it is not a list", p[:i], s.index)
		case s.key != "":
			for k := 0; k+1 < len(n.Content); k += 2 {
				if n.Content[k].Value == s.key {
					next = place{parent: n, holder: at.holder, key: n.Content[k], value: n.Content[k+1], at: k + 1}
				}
			}
		case s.index > len(n.Content):
			return at, fmt.Errorf("%s has %d elements: [%d] is the next one", p[:i], len(n.Content), len(n.Content))
		case s.index < len(n.Content):
			next = place{parent: n, value: n.Content[s.index], at: s.index}
		}
		if next.value == nil || i+1 == len(p) {
			return next, nil
		}
		at = place{parent: next.value, holder: next.key}
	}
	return at, errors.New("the path is empty")
}

// wrap makes a value of what lies below a missing step: {b: {c: value}} for a missing a of a.b.c.
func wrap(rest Path, value *yaml.Node) (*yaml.Node, error) {
	for i := len(rest) - 1; i >= 0; i-- {
		s := rest[i]
		if s.key != "" {
			value = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle, Content: []*yaml.Node{keyNode(s.key), value}}
			continue
		}
		if s.index != 0 {
			return nil, fmt.Errorf("there is no list yet to have an element [%d]: begin with [0]", s.index)
		}
		value = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle, Content: []*yaml.Node{value}}
	}
	return value, nil
}

func keyNode(key string) *yaml.Node {
	var n yaml.Node
	n.SetString(key)
	return &n
}

// flow makes a value fit in one line.
func flow(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		n.Style &^= yaml.LiteralStyle | yaml.FoldedStyle
		if bytes.ContainsAny([]byte(n.Value), "\n\r") {
			n.Style = yaml.DoubleQuotedStyle
		}
	default:
		n.Style |= yaml.FlowStyle
	}
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, c := range n.Content {
		flow(c)
	}
}

// line writes a value in one line.
func line(n *yaml.Node) (string, error) {
	b, err := yaml.Marshal(n)
	if err != nil {
		return "", err
	}
	b = bytes.TrimRight(b, "\n")
	if bytes.ContainsRune(b, '\n') {
		return "", errors.New("the value does not fit in one line")
	}
	return string(b), nil
}
