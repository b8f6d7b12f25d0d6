// Package fdt reads flattened device trees, and FIT images, which are device trees with files in them.
// Sources: Devicetree Specification 0.4, chapter 5; U-Boot doc/usage/fit/source_file_format.rst.
package fdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Magic is the first word of a flattened device tree, big endian.
const Magic = 0xD00DFEED

// ErrNotFDT means that the data does not begin with a device tree.
var ErrNotFDT = errors.New("no device tree (d00dfeed)")

// Node is a node of a tree.
type Node struct {
	Name     string // with its unit address; "" for the root
	Props    map[string][]byte
	Children []*Node
}

// Tree is a device tree.
type Tree struct {
	Root *Node
	Size int64 // totalsize: bytes that the blob takes, in the file and in memory
}

// maxDepth is far above any real tree.
const maxDepth = 64

// Size returns the totalsize of a blob from its first 8 bytes. Errors: ErrNotFDT.
func Size(head []byte) (int64, error) {
	if len(head) < 8 || binary.BigEndian.Uint32(head) != Magic {
		return 0, ErrNotFDT
	}
	return int64(binary.BigEndian.Uint32(head[4:])), nil
}

// Parse reads a tree. Behind its totalsize other data may follow. Errors: ErrNotFDT; what breaks the format.
func Parse(data []byte) (*Tree, error) {
	size, err := Size(data)
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	if size < 40 || size > int64(len(data)) {
		return nil, fmt.Errorf("device tree: totalsize %d of %d bytes", size, len(data))
	}
	data = data[:size]
	structs, stringsAt := be.Uint32(data[8:]), be.Uint32(data[12:])
	version, compatible := be.Uint32(data[20:]), be.Uint32(data[24:])
	stringsLen, structLen := be.Uint32(data[32:]), be.Uint32(data[36:])
	if version < 17 || compatible > 17 {
		return nil, fmt.Errorf("device tree: version %d, compatible with %d; want 17", version, compatible)
	}
	if structs%4 != 0 || int64(structs)+int64(structLen) > size || int64(stringsAt)+int64(stringsLen) > size {
		return nil, fmt.Errorf("device tree: structure at %d (%d bytes), strings at %d (%d bytes), of %d", structs, structLen, stringsAt, stringsLen, size)
	}
	p := parser{data: data[structs:][:structLen], names: data[stringsAt:][:stringsLen]}
	root, err := p.root()
	if err != nil {
		return nil, fmt.Errorf("device tree: %w", err)
	}
	return &Tree{Root: root, Size: size}, nil
}

type parser struct{ data, names []byte }

// Tokens of the structure block (section 5.4.1).
const (
	tokBegin = 1
	tokEnd   = 2
	tokProp  = 3
	tokNop   = 4
	tokLast  = 9
)

var errShort = errors.New("structure block is cut short")

func (p *parser) word() (uint32, error) {
	if len(p.data) < 4 {
		return 0, errShort
	}
	w := binary.BigEndian.Uint32(p.data)
	p.data = p.data[4:]
	return w, nil
}

func (p *parser) skip(n int) error {
	n = (n + 3) &^ 3
	if n > len(p.data) {
		return errShort
	}
	p.data = p.data[n:]
	return nil
}

func (p *parser) root() (*Node, error) {
	for {
		switch w, err := p.word(); {
		case err != nil:
			return nil, err
		case w == tokNop:
		case w == tokBegin:
			n, err := p.node(0)
			if err != nil {
				return nil, err
			}
			for {
				if w, err := p.word(); err != nil {
					return nil, err
				} else if w == tokLast {
					return n, nil
				} else if w != tokNop {
					return nil, fmt.Errorf("token %#x behind the root node", w)
				}
			}
		default:
			return nil, fmt.Errorf("token %#x instead of the root node", w)
		}
	}
}

func (p *parser) node(depth int) (*Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nodes more than %d deep", maxDepth)
	}
	end := bytes.IndexByte(p.data, 0)
	if end < 0 {
		return nil, errShort
	}
	n := &Node{Name: string(p.data[:end]), Props: map[string][]byte{}}
	if err := p.skip(end + 1); err != nil {
		return nil, err
	}
	for {
		w, err := p.word()
		if err != nil {
			return nil, err
		}
		switch w {
		case tokNop:
		case tokEnd:
			return n, nil
		case tokBegin:
			c, err := p.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Children = append(n.Children, c)
		case tokProp:
			length, err := p.word()
			if err != nil {
				return nil, err
			}
			at, err := p.word()
			if err != nil {
				return nil, err
			}
			if int64(at) >= int64(len(p.names)) || int64(length) > int64(len(p.data)) {
				return nil, fmt.Errorf("property of %d bytes in node %q, name at %d", length, n.Name, at)
			}
			name, _, ok := bytes.Cut(p.names[at:], []byte{0})
			if !ok {
				return nil, fmt.Errorf("property name at %d has no end", at)
			}
			n.Props[string(name)] = p.data[:length:length]
			if err := p.skip(int(length)); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("token %#x in node %q", w, n.Name)
		}
	}
}

// Child finds a child by name; without a unit address in name, it finds the first that has one.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		bare, _, _ := strings.Cut(c.Name, "@")
		if c.Name == name || bare == name {
			return c
		}
	}
	return nil
}

// Strings is a property that is a list of strings.
func (n *Node) Strings(prop string) []string {
	v, ok := n.Props[prop]
	if !ok || len(v) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(v), "\x00"), "\x00")
}

// Number is a property of one or two cells. Errors: it is not there, or not of 4 or 8 bytes.
func (n *Node) Number(prop string) (uint64, error) {
	v, ok := n.Props[prop]
	switch {
	case !ok:
		return 0, fmt.Errorf("node %q has no %q", n.Name, prop)
	case len(v) == 4:
		return uint64(binary.BigEndian.Uint32(v)), nil
	case len(v) == 8:
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, fmt.Errorf("node %q: %q has %d bytes, want 4 or 8", n.Name, prop, len(v))
}
