package values

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Path leads to a value: keys and, in lists, indexes. It is written as in the error texts
// of package config: "network.interfaces[0].mtu"; a key with dots in it is quoted:
// registries.mirrors."docker.io".endpoint.
type Path []step

// step is a key, or an index when key is empty.
type step struct {
	key   string
	index int
}

func (p Path) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.key == "":
			fmt.Fprintf(&b, "[%d]", s.index)
			continue
		case b.Len() > 0:
			b.WriteByte('.')
		}
		if strings.ContainsAny(s.key, `."[]`) {
			b.WriteString(strconv.Quote(s.key))
		} else {
			b.WriteString(s.key)
		}
	}
	return b.String()
}

// maxIndex bounds an index; no list of a configuration is that long.
const maxIndex = 10_000

// ParsePath reads a path.
func ParsePath(s string) (Path, error) {
	bad := func(what string) (Path, error) {
		return nil, fmt.Errorf("%q: %s, expected a path such as hostname, cluster.node-ip or network.interfaces[0].mtu", s, what)
	}
	var p Path
	for rest := s; ; {
		var key string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return bad("a quote is not closed")
			}
			key, err = strconv.Unquote(quoted)
			if err != nil {
				return bad("a quoted key is not valid")
			}
			rest = rest[len(quoted):]
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			key, rest = rest[:end], rest[end:]
		}
		strange := func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) || r == '"' || r == utf8.RuneError }
		if key == "" || strings.ContainsFunc(key, strange) {
			return bad("a key is empty or has spaces, quotes or unprintable characters in it")
		}
		p = append(p, step{key: key})
		for strings.HasPrefix(rest, "[") {
			number, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.ParseUint(number, 10, 31)
			if !ok || err != nil || n > maxIndex {
				return bad("an index is not a number in brackets")
			}
			p, rest = append(p, step{index: int(n)}), after
		}
		if rest == "" {
			return p, nil
		}
		if rest[0] != '.' {
			return bad("a dot is missing")
		}
		rest = rest[1:]
	}
}

// ParseAssignment reads "path=value".
func ParseAssignment(s string) (p Path, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return nil, "", fmt.Errorf("%q: no \"=\", expected KEY=VALUE, such as cluster.node-ip=192.168.1.11", s)
	}
	p, err = ParsePath(key)
	return p, value, err
}
