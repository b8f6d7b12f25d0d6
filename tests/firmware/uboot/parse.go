package uboot

import (
	"fmt"
	"strings"
)

// The grammar is what boot scripts use of common/cli_hush.c: lists with ";", newlines, "&&" and "||", if, for, words
// with both kinds of quotes and ${variables}. while, until, pipes, "&" and assignments are refused.

// list is commands, one after the other.
type list []andOr

// andOr is commands joined by && and ||, from left to right.
type andOr struct {
	cmds []command
	or   []bool // or[i] joins cmds[i] and cmds[i+1]
}

// command is one of the three.
type command struct {
	line   int
	words  []word
	branch []branch // if: conditions and bodies; the last may be an else, without a condition
	loop   *loop
}

type branch struct {
	cond list // nil: else
	body list
}

type loop struct {
	name   string
	values []word
	body   list
}

// word is pieces that are joined.
type word []piece

type piece struct {
	text   string // literal text, or the name of a variable
	isVar  bool
	quoted bool // in quotes: is not split, and is a word even when it is empty
}

type token struct {
	op   string // ";", "\n", "&&", "||"; "" for a word; "eof"
	word word
	line int
}

// plain is a word's text when it is literal and without quotes, so that it may be a keyword.
func (t token) plain() string {
	if t.op != "" || len(t.word) != 1 || t.word[0].isVar || t.word[0].quoted {
		return ""
	}
	return t.word[0].text
}

func tokens(src string) ([]token, error) {
	var out []token
	line := 1
	var w word
	open := false
	lit := func(s string, quoted bool) {
		open = true
		if n := len(w); n > 0 && !w[n-1].isVar && w[n-1].quoted == quoted {
			w[n-1].text += s
			return
		}
		w = append(w, piece{text: s, quoted: quoted})
	}
	end := func() {
		if open {
			out = append(out, token{word: w, line: line})
		}
		w, open = nil, false
	}
	variable := func(i int, quoted bool) (int, error) {
		rest := src[i+1:]
		var name string
		switch {
		case strings.HasPrefix(rest, "{"):
			n := strings.IndexByte(rest, '}')
			if n < 0 {
				return 0, fmt.Errorf("line %d: ${ without }", line)
			}
			name, i = rest[1:n], i+n+2
		case strings.HasPrefix(rest, "?"):
			name, i = "?", i+2
		default:
			n := 0
			for n < len(rest) && nameByte(rest[n]) {
				n++
			}
			name, i = rest[:n], i+n+1
		}
		if name == "" || name != "?" && strings.IndexFunc(name, func(r rune) bool { return r > 127 || !nameByte(byte(r)) }) >= 0 {
			return 0, fmt.Errorf("line %d: %q is no name of a variable", line, name)
		}
		open = true
		w = append(w, piece{text: name, isVar: true, quoted: quoted})
		return i, nil
	}
	for i := 0; i < len(src); {
		c := src[i]
		var err error
		switch {
		case c == '\n':
			end()
			out = append(out, token{op: "\n", line: line})
			line++
			i++
		case c == ' ' || c == '\t':
			end()
			i++
		case c == '#' && !open:
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case c == ';':
			end()
			out = append(out, token{op: ";", line: line})
			i++
		case c == '&' || c == '|':
			end()
			if i+1 >= len(src) || src[i+1] != c {
				return nil, fmt.Errorf("line %d: %q alone is not supported", line, c)
			}
			out = append(out, token{op: src[i : i+2], line: line})
			i += 2
		case c == '\\':
			if i+1 >= len(src) {
				return nil, fmt.Errorf("line %d: ends with a backslash", line)
			}
			if src[i+1] == '\n' {
				line++
			} else {
				lit(src[i+1:i+2], true)
			}
			i += 2
		case c == '\'':
			n := strings.IndexByte(src[i+1:], '\'')
			if n < 0 {
				return nil, fmt.Errorf("line %d: quote without end", line)
			}
			lit(src[i+1:i+1+n], true)
			line += strings.Count(src[i+1:i+1+n], "\n")
			i += n + 2
		case c == '"':
			lit("", true)
			start := line
			for i++; ; {
				if i >= len(src) {
					return nil, fmt.Errorf("line %d: quote without end", start)
				}
				if src[i] == '"' {
					i++
					break
				}
				switch {
				case src[i] == '$':
					if i, err = variable(i, true); err != nil {
						return nil, err
					}
					continue
				case src[i] == '\\' && i+1 < len(src):
					i++
				case src[i] == '\n':
					line++
				}
				lit(src[i:i+1], true)
				i++
			}
		case c == '$':
			if i, err = variable(i, false); err != nil {
				return nil, err
			}
		default:
			lit(src[i:i+1], false)
			i++
		}
	}
	end()
	return append(out, token{op: "eof", line: line}), nil
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// maxNesting bounds if and for inside of each other.
const maxNesting = 50

type grammar struct {
	toks  []token
	at    int
	depth int
}

// parse reads a script.
func parse(src string) (list, error) {
	toks, err := tokens(src)
	if err != nil {
		return nil, err
	}
	g := grammar{toks: toks}
	l, err := g.list()
	if err != nil {
		return nil, err
	}
	if t := g.peek(); t.op != "eof" {
		return nil, fmt.Errorf("line %d: %q without its beginning", t.line, t.plain()+t.op)
	}
	return l, nil
}

func (g *grammar) peek() token { return g.toks[g.at] }

func (g *grammar) take() token {
	t := g.toks[g.at]
	if t.op != "eof" {
		g.at++
	}
	return t
}

func (g *grammar) blank() {
	for op := g.peek().op; op == "\n"; op = g.peek().op {
		g.take()
	}
}

// closes are the keywords that end a list.
var closes = map[string]bool{"then": true, "elif": true, "else": true, "fi": true, "do": true, "done": true}

var unsupported = map[string]bool{"while": true, "until": true, "!": true, "{": true, "(": true, "function": true, "case": true}

func (g *grammar) list() (list, error) {
	var l list
	for {
		for op := g.peek().op; op == "\n" || op == ";"; op = g.peek().op {
			g.take()
		}
		if t := g.peek(); t.op == "eof" || closes[t.plain()] {
			return l, nil
		}
		a, err := g.andOr()
		if err != nil {
			return nil, err
		}
		l = append(l, a)
		if t := g.peek(); t.op == "" {
			return nil, fmt.Errorf("line %d: %q behind a command", t.line, t.plain())
		}
	}
}

func (g *grammar) andOr() (andOr, error) {
	var a andOr
	for {
		c, err := g.command()
		if err != nil {
			return a, err
		}
		a.cmds = append(a.cmds, c)
		op := g.peek().op
		if op != "&&" && op != "||" {
			return a, nil
		}
		g.take()
		a.or = append(a.or, op == "||")
		g.blank()
	}
}

func (g *grammar) expect(keyword string) error {
	if t := g.take(); t.plain() != keyword {
		return fmt.Errorf("line %d: want %q", t.line, keyword)
	}
	return nil
}

func (g *grammar) command() (command, error) {
	t := g.peek()
	if t.op != "" {
		return command{}, fmt.Errorf("line %d: a command is missing before %q", t.line, t.op)
	}
	if g.depth++; g.depth > maxNesting {
		return command{}, fmt.Errorf("line %d: more than %d inside of each other", t.line, maxNesting)
	}
	defer func() { g.depth-- }()
	switch p := t.plain(); {
	case p == "if":
		return g.condition()
	case p == "for":
		return g.repeat()
	case closes[p], unsupported[p]:
		return command{}, fmt.Errorf("line %d: %q is not supported here", t.line, p)
	}
	c := command{line: t.line}
	for g.peek().op == "" {
		c.words = append(c.words, g.take().word)
	}
	if first := (token{word: c.words[0]}).plain(); strings.Contains(first, "=") {
		return c, fmt.Errorf("line %d: %q: assignments without setenv are not supported", t.line, first)
	}
	return c, nil
}

func (g *grammar) condition() (command, error) {
	c := command{line: g.peek().line}
	for keyword := "if"; ; {
		if err := g.expect(keyword); err != nil {
			return c, err
		}
		var b branch
		var err error
		if keyword != "else" {
			if b.cond, err = g.list(); err != nil {
				return c, err
			}
			if len(b.cond) == 0 {
				return c, fmt.Errorf("line %d: %s without a condition", g.peek().line, keyword)
			}
			if err := g.expect("then"); err != nil {
				return c, err
			}
		}
		if b.body, err = g.list(); err != nil {
			return c, err
		}
		if len(b.body) == 0 {
			return c, fmt.Errorf("line %d: nothing to do behind %s", g.peek().line, keyword)
		}
		c.branch = append(c.branch, b)
		next := g.peek().plain()
		if next == "fi" {
			g.take()
			return c, nil
		}
		if keyword == "else" || next != "elif" && next != "else" {
			return c, fmt.Errorf("line %d: want \"fi\"", g.peek().line)
		}
		keyword = next
	}
}

func (g *grammar) repeat() (command, error) {
	c := command{line: g.take().line, loop: &loop{}}
	if c.loop.name = g.take().plain(); c.loop.name == "" {
		return c, fmt.Errorf("line %d: for without a variable", c.line)
	}
	if err := g.expect("in"); err != nil {
		return c, err
	}
	for g.peek().op == "" {
		c.loop.values = append(c.loop.values, g.take().word)
	}
	for op := g.peek().op; op == ";" || op == "\n"; op = g.peek().op {
		g.take()
	}
	if err := g.expect("do"); err != nil {
		return c, err
	}
	var err error
	if c.loop.body, err = g.list(); err != nil {
		return c, err
	}
	return c, g.expect("done")
}
