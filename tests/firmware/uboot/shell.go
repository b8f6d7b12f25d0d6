package uboot

import (
	"errors"
	"fmt"
	"strings"
)

// errStop ends a script: with a boot, a reset, or a fault that makes going on pointless.
var errStop = errors.New("script ends")

// maxCommands bounds a run: "run" may recurse.
const maxCommands = 20000

func (u *run) list(l list) (status int, err error) {
	for _, a := range l {
		if status, err = u.andOr(a); err != nil {
			return status, err
		}
	}
	return status, nil
}

func (u *run) andOr(a andOr) (status int, err error) {
	for i, c := range a.cmds {
		if i > 0 && (status == 0) == a.or[i-1] {
			continue
		}
		if status, err = u.command(c); err != nil {
			return status, err
		}
	}
	return status, nil
}

func (u *run) command(c command) (int, error) {
	switch {
	case c.loop != nil:
		values, err := u.expand(c.line, c.loop.values)
		if err != nil {
			return 1, err
		}
		status := 0
		for _, v := range values {
			u.env[c.loop.name] = v
			if status, err = u.list(c.loop.body); err != nil {
				return status, err
			}
		}
		return status, nil
	case c.branch != nil:
		for _, b := range c.branch {
			if b.cond != nil {
				status, err := u.list(b.cond)
				if err != nil {
					return status, err
				}
				if status != 0 {
					continue
				}
			}
			return u.list(b.body)
		}
		return 0, nil
	}
	if u.count++; u.count > maxCommands {
		return 1, u.stopf(c.line, "more than %d commands: the script goes round in a circle", maxCommands)
	}
	args, err := u.expand(c.line, c.words)
	if err != nil || len(args) == 0 {
		return 0, err
	}
	u.line = c.line
	u.status, err = u.call(args)
	return u.status, err
}

// expand replaces variables. What comes from a variable outside of quotes is split at blanks, and vanishes when empty.
func (u *run) expand(line int, words []word) ([]string, error) {
	var out []string
	for _, w := range words {
		cur, have := "", false
		for _, p := range w {
			text := p.text
			if p.isVar {
				if p.text == "?" {
					text = fmt.Sprint(u.status)
				} else {
					text = u.env[p.text]
				}
				// hush puts the word into single quotes and reads it again (make_string in cli_hush.c).
				if p.quoted && strings.Contains(text, "'") {
					return nil, u.stopf(line, "${%s} has a single quote in it: U-Boot takes the word apart there", p.text)
				}
			}
			if p.quoted || !p.isVar {
				cur, have = cur+text, true
				continue
			}
			fields := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
			if len(fields) == 0 {
				continue
			}
			if have && strings.IndexAny(text, " \t\n") == 0 {
				out, cur = append(out, cur), ""
			}
			for i, f := range fields {
				if i > 0 {
					out, cur = append(out, cur), ""
				}
				cur, have = cur+f, true
			}
			if strings.ContainsAny(text[len(text)-1:], " \t\n") {
				out, cur, have = append(out, cur), "", false
			}
		}
		if have {
			out = append(out, cur)
		}
	}
	return out, nil
}

// test is cmd/test.c: from left to right, without precedence.
func (u *run) test(args []string) int {
	if len(args) < 2 {
		return 1 // "test -n" with an empty variable outside of quotes
	}
	result, not := false, false
	join := ""
	last := false
	for ap := args; len(ap) > 0; {
		var value bool
		adv := 0
		switch {
		case len(ap) >= 3 && comparisons[ap[1]] != nil:
			value, adv = comparisons[ap[1]](ap[0], ap[2]), 3
		case ap[0] == "!":
			not, ap = !not, ap[1:]
			continue
		case ap[0] == "-o", ap[0] == "-a":
			last, join, ap = result, ap[0], ap[1:]
			continue
		case len(ap) >= 2 && ap[0] == "-z":
			value, adv = ap[1] == "", 2
		case len(ap) >= 2 && ap[0] == "-n":
			value, adv = ap[1] != "", 2
		case len(ap) >= 4 && ap[0] == "-e":
			_, err := u.file(ap[1], ap[2], ap[3])
			value, adv = err == nil, 4
		default:
			return 0 // what it does not understand is true
		}
		if not {
			value, not = !value, false
		}
		switch join {
		case "-o":
			value = last || value
		case "-a":
			value = last && value
		}
		result, join, ap = value, "", ap[adv:]
	}
	if result {
		return 0
	}
	return 1
}

var comparisons = map[string]func(a, b string) bool{
	"=":   func(a, b string) bool { return a == b },
	"!=":  func(a, b string) bool { return a != b },
	"<":   func(a, b string) bool { return a < b },
	">":   func(a, b string) bool { return a > b },
	"-eq": func(a, b string) bool { return strtol(a) == strtol(b) },
	"-ne": func(a, b string) bool { return strtol(a) != strtol(b) },
	"-lt": func(a, b string) bool { return strtol(a) < strtol(b) },
	"-le": func(a, b string) bool { return strtol(a) <= strtol(b) },
	"-gt": func(a, b string) bool { return strtol(a) > strtol(b) },
	"-ge": func(a, b string) bool { return strtol(a) >= strtol(b) },
}

// strtol is simple_strtol with base 0: as far as there are digits.
func strtol(s string) int64 {
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	base := int64(10)
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		base, s = 16, rest
	} else if len(s) > 1 && s[0] == '0' {
		base = 8
	}
	var n int64
	for _, r := range strings.ToLower(s) {
		d := int64(strings.IndexRune("0123456789abcdef", r))
		if d < 0 || d >= base {
			break
		}
		n = n*base + d
	}
	if negative {
		return -n
	}
	return n
}
