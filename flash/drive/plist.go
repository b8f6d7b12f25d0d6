package drive

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxDepth bounds how deep a property list may be nested; diskutil's have four levels.
const maxDepth = 32

// parsePlist reads a property list in XML: dictionaries become map[string]any, arrays
// []any, and the rest string, int64 or bool. Dates, data and reals become strings.
// Source: Apple's DTD, PropertyList-1.0.dtd.
func parsePlist(r io.Reader) (any, error) {
	d := xml.NewDecoder(r)
	for {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("property list: %w", noEOF(err))
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local != "plist" {
			v, err := plistValue(d, e, 0)
			if err != nil {
				return nil, fmt.Errorf("property list: %w", err)
			}
			return v, nil
		}
	}
}

// noEOF is err, but for an end where there must be more.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func plistValue(d *xml.Decoder, e xml.StartElement, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	switch e.Name.Local {
	case "dict":
		m := map[string]any{}
		key, have := "", false
		err := eachChild(d, func(c xml.StartElement) error {
			if c.Name.Local == "key" {
				text, err := plistText(d)
				key, have = text, true
				return err
			}
			if !have {
				return fmt.Errorf("a <%s> without a key before it", c.Name.Local)
			}
			v, err := plistValue(d, c, depth+1)
			m[key], have = v, false
			return err
		})
		return m, err
	case "array":
		list := []any{}
		err := eachChild(d, func(c xml.StartElement) error {
			v, err := plistValue(d, c, depth+1)
			list = append(list, v)
			return err
		})
		return list, err
	case "true", "false":
		return e.Name.Local == "true", d.Skip()
	case "integer":
		text, err := plistText(d)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("integer: %w", err)
		}
		return n, nil
	}
	return plistText(d)
}

// eachChild calls f for every element up to the end of the one that was just begun.
func eachChild(d *xml.Decoder, f func(xml.StartElement) error) error {
	for {
		t, err := d.Token()
		if err != nil {
			return noEOF(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

// plistText returns the text up to the end of the element that was just begun.
func plistText(d *xml.Decoder) (string, error) {
	var text []byte
	for {
		t, err := d.Token()
		if err != nil {
			return "", noEOF(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			text = append(text, t...)
		case xml.StartElement:
			return "", fmt.Errorf("a <%s> inside of a text", t.Name.Local)
		case xml.EndElement:
			return string(text), nil
		}
	}
}

// dict is a dictionary of a property list; a key that is missing or of another type is the zero value.
type dict map[string]any

// readDict reads a property list that is a dictionary.
func readDict(b []byte) (dict, error) {
	v, err := parsePlist(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("its property list is no dictionary")
	}
	return m, nil
}

func (m dict) text(key string) string   { s, _ := m[key].(string); return s }
func (m dict) integer(key string) int64 { n, _ := m[key].(int64); return n }
func (m dict) flag(key string) bool     { b, _ := m[key].(bool); return b }

// dicts returns the dictionaries of an array.
func (m dict) dicts(key string) []dict {
	var out []dict
	list, _ := m[key].([]any)
	for _, v := range list {
		if d, ok := v.(map[string]any); ok {
			out = append(out, d)
		}
	}
	return out
}
